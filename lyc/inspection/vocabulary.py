"""Do two models speak the same tokens? A draft model must, or its proposals mean something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def fingerprint(tokenizer: Mapping[str, object]) -> str | None:
    """`sha256:…` over token → id of `tokenizer.json`; None where it holds no vocabulary.

    Only `model.vocab` counts: fine-tuning adds tokens on top (`added_tokens`), which hinders no draft. Either form is
    read: `{token: id}` (BPE, WordPiece, WordLevel) and `[[token, score], …]` (Unigram), where the place is the id.
    """
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    return of_vocab(vocab)


def of_vocab(vocab: object) -> str | None:
    """The same for a bare vocabulary (`vocab.json`). Equal however the entries are ordered and the file is laid out."""
    if isinstance(vocab, list) and all(isinstance(row, list) and row for row in vocab):
        pairs = [(at, str(row[0])) for at, row in enumerate(vocab)]
    elif isinstance(vocab, Mapping) and all(type(at) is int for at in vocab.values()):
        pairs = sorted((at, str(token)) for token, at in vocab.items())
    else:
        return None
    if not pairs:
        return None
    text = json.dumps(pairs, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
