"""config.json → `Architecture`: the layers, the tables and the towers of a model."""

from __future__ import annotations

from collections.abc import Mapping

from lyc.inspection.blocks import blocks
from lyc.inspection.experts import with_mlps
from lyc.inspection.families import family
from lyc.inspection.mixers import mixers
from lyc.inspection.patterns import kinds, layer_count
from lyc.inspection.ropes import positions, ropes
from lyc.inspection.sections import Sections, sections
from lyc.inspection.settings import Settings
from lyc.inspection.towers import towers
from lyc.records.architecture import Architecture, Layer

_LONGEST = 100_000
"""Layers. More is no model but a broken file."""


def architecture(config: Mapping[str, object]) -> Architecture | None:
    """What the model is built of; None where the file does not say how many layers it has. Never raises."""
    return described(sections(config))


def described(found: Sections) -> Architecture | None:
    """`architecture` of a file whose sections were found already."""
    text = found.text
    count = layer_count(text)
    if not count or count > _LONGEST:
        return None
    known = family(text.model_type) is not None and not text.section("sparse_attention_config")
    words = kinds(text, count)
    layers = blocks(text) or with_mlps(text, words, mixers(text, words, count))
    hidden, vocab = text.whole("hidden_size"), text.whole("vocab_size") or found.outer.whole("vocab_size")
    if not vocab:
        text.missing["vocab_size"] = None
    if not hidden:
        text.missing["hidden_size"] = None
    _doubt_defaults(found, layers)
    written = dtype(found)
    if written is None:
        text.missing["dtype"] = None
    return Architecture(
        name=found.name,
        hidden=hidden or 0,
        vocab=vocab or 0,
        dtype=written or "bfloat16",
        layers=layers,
        positions=positions(text) if found.path or text.mentions("hidden_size") else _written_positions(text),
        tied=tied(found),
        mtp=_mtp(text, layers),
        ropes=ropes(text, layers),
        towers=towers(found),
        known=known,
        unknown=tuple(text.missing),
    )


def dtype(found: Sections) -> str | None:
    """As written, innermost last: vLLM asks the whole first (`get_torch_dtype`, 0.19.0)."""
    for part in reversed(found.chain):
        for key in ("dtype", "torch_dtype"):
            if isinstance(value := part.written.get(key), str) and value != "auto":
                return value.removeprefix("torch.")
    return None


def tied(found: Sections) -> bool:
    """Whether input and output share one table, by the file, else by the class of the language model."""
    for part in found.chain:
        if isinstance(written := part.written.get("tie_word_embeddings"), bool):
            return written
    default = found.text.defaults.get("tie_word_embeddings")
    if isinstance(default, bool):
        return default
    found.text.missing["tie_word_embeddings"] = None
    row = family(found.text.model_type)
    return row.tied if row else True  # the base class of configurations ties


def _written_positions(text: Settings) -> int | None:
    """Of an abridged file, whose class default would be another model's."""
    bare = Settings(text.written, text.model_type)
    return positions(bare)


def _mtp(text: Settings, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers for multi-token prediction are like the last with full attention."""
    count, row = text.whole("num_nextn_predict_layers"), family(text.model_type)
    if count is None or (row and row.mtp < 0):
        count = row.mtp if row else 0
    if not 0 < count <= 64:
        return ()
    like = next((one for one in reversed(layers) if one.state is None and one.heads), layers[-1])
    return (like,) * count


def _doubt_defaults(found: Sections, layers: tuple[Layer, ...]) -> None:
    """Files of whole models name these; where one does not, the class default may be another model's."""
    text = found.text
    if found.path:
        return
    names = ["hidden_size", "vocab_size"]
    if any(layer.heads for layer in layers):
        names += ["num_attention_heads"]
    if any(layer.intermediate for layer in layers):
        names += ["intermediate_size"]
    if any(layer.experts for layer in layers):
        names += ["num_experts", "num_experts_per_tok"]
        names += [] if text.writes("intermediate_size") else ["moe_intermediate_size"]
    for name in names:
        if not text.mentions(name):
            text.missing[name] = None
