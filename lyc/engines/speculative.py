"""Speculative decoding: may this draft be used with this model, and how vLLM is told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lyc.engines.tables import nearest
from lyc.engines.versions import ARCTIC_INFERENCE
from lyc.errors import SpecError
from lyc.records.deployment import Speculative
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild


@dataclass(frozen=True, slots=True)
class _Method:
    """tokens: draft tokens per step by default (vLLM's documentation uses these). draft: does it need a model."""

    tokens: int
    draft: bool
    same_vocabulary: bool = False


METHODS = {
    "ngram": _Method(tokens=5, draft=False),
    "suffix": _Method(tokens=16, draft=False),
    "mtp": _Method(tokens=1, draft=False),
    "draft_model": _Method(tokens=5, draft=True, same_vocabulary=True),
    "eagle": _Method(tokens=3, draft=True),
    "eagle3": _Method(tokens=3, draft=True),
}
MOST_TOKENS = 64
_NGRAM = {"prompt_lookup_max": 4, "prompt_lookup_min": 2}


def check(
    wish: Speculative | None,
    facts: ModelFacts,
    draft: ModelFacts | None,
    build: EngineBuild,
    distributions: Collection[str] = (),
) -> None:
    """Raise SpecError with what is wrong with the wish. Costs no start of an engine.

    distributions: normalized names of what the environment of `build` has installed.
    """
    if wish is None:
        return
    method = METHODS.get(wish.method)
    if method is None:
        alike = nearest(wish.method, METHODS)
        hint = f"did you mean {alike[0]}?" if alike else f"choose one of: {', '.join(METHODS)}"
        raise _wrong("unknown-speculative-method", f"there is no speculative method {wish.method!r}", "", hint)
    if method.draft and (wish.model is None or draft is None):
        raise _wrong(
            "speculative-needs-model",
            f"speculative decoding with {wish.method} needs a draft model",
            "",
            f"write --speculative {wish.method}:MODEL",
        )
    if not method.draft and wish.model is not None:
        raise _wrong(
            "speculative-takes-no-model",
            f"speculative decoding with {wish.method} takes no draft model",
            f"it drafts from {'the model itself' if wish.method == 'mtp' else 'the text so far'}",
            f"write --speculative {wish.method}",
        )
    if wish.tokens is not None and not 1 <= wish.tokens <= MOST_TOKENS:
        raise _wrong(
            "bad-speculative-tokens",
            f"{wish.tokens} draft tokens per step cannot be",
            f"at least 1 and at most {MOST_TOKENS}; more than a few rarely pay",
            f"leave it out ({method.tokens} is the default for {wish.method}), or give a smaller number",
        )
    if wish.method == "mtp":
        _check_mtp(facts)
    if wish.method == "suffix" and "arctic-inference" not in distributions:
        raise _wrong(
            "speculative-needs-package",
            "suffix decoding needs the package arctic-inference in the engine's environment",
            "it is built from source with a C++ compiler, so it is not part of the environment",
            f"install {ARCTIC_INFERENCE} into the environment of {build.id}, or choose --speculative ngram",
        )
    if method.draft and draft is not None:
        _check_draft(wish, method, facts, draft)


def vllm_config(method: str, model: str | None, tokens: int | None) -> dict[str, object]:
    """vLLM's `--speculative-config` as a JSON object. `model` is the path of the draft, if the method has one."""
    config: dict[str, object] = {"method": method, "num_speculative_tokens": tokens or METHODS[method].tokens}
    if method == "ngram":
        config |= _NGRAM
    if model is not None and METHODS[method].draft:
        config["model"] = model
    return config


def _check_mtp(facts: ModelFacts) -> None:
    if facts.num_mtp_layers < 1:
        raise _wrong(
            "no-mtp-layers",
            "the model has no layers for multi-token prediction",
            "its config.json names none (num_nextn_predict_layers, mtp_num_hidden_layers)",
            "choose another method: --speculative ngram works with every model",
        )


def _check_draft(wish: Speculative, method: _Method, facts: ModelFacts, draft: ModelFacts) -> None:
    if method.same_vocabulary:
        if facts.vocab_size is not None and draft.vocab_size is not None and facts.vocab_size != draft.vocab_size:
            raise _other_vocabulary(wish, f"it has {draft.vocab_size} tokens, the model has {facts.vocab_size}")
        if facts.vocabulary and draft.vocabulary and facts.vocabulary != draft.vocabulary:
            raise _other_vocabulary(wish, "the same token numbers mean different text in the two tokenizers")
        return
    sizes = (draft.hidden_size, facts.hidden_size)
    # An eagle3 head may have a size of its own: it begins with a projection.
    if wish.method == "eagle" and None not in sizes and sizes[0] != sizes[1]:
        raise _wrong(
            "draft-head-for-another-model",
            f"the {wish.method} head {wish.model} was not made for this model",
            f"it reads hidden states of {draft.hidden_size} values, the model's have {facts.hidden_size}",
            "use the head that was trained for exactly this model, or --speculative ngram",
        )
    is_eagle3 = any("eagle3" in name.lower() for name in draft.architectures)
    if is_eagle3 != (wish.method == "eagle3"):
        right = "eagle3" if is_eagle3 else "eagle"
        raise _wrong(
            "wrong-draft-method",
            f"{wish.model} is a head for {right}, not for {wish.method}",
            f"its architecture is {', '.join(draft.architectures) or 'not named'}",
            f"write --speculative {right}:{wish.model}",
        )


def _other_vocabulary(wish: Speculative, why: str) -> SpecError:
    return _wrong(
        "draft-vocabulary-differs",
        f"{wish.model} cannot draft for this model: its vocabulary is another one",
        why,
        "use a smaller model of the same family, or --speculative ngram",
    )


def _wrong(ref: str, what: str, why: str, hint: str) -> SpecError:
    return SpecError(ref, what, why=why, where="--speculative", hint=hint)
