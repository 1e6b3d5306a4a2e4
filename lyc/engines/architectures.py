"""May this model be served at all? vLLM says so too, but only after 15 to 30 seconds of imports."""

from __future__ import annotations

from lyc.engines.tables import architectures, model_types, nearest
from lyc.engines.versions import VLLM_VERSION
from lyc.errors import SpecError
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild

# vLLM takes X in any of these clothes when it knows X in one of them (vllm/config/model.py, _SUFFIX_TO_DEFAULTS).
_SUFFIXES = {
    "ForCausalLM": "generate",
    "ForConditionalGeneration": "generate",
    "ChatModel": "generate",
    "LMHeadModel": "generate",
    "ForTextEncoding": "embed",
    "EmbeddingModel": "embed",
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "classify",
    "ForAudioClassification": "classify",
    "ForImageClassification": "classify",
    "ForVideoClassification": "classify",
    "ClassificationModel": "classify",
    "ForRewardModeling": "embed",
    "RewardModel": "embed",
    "Model": "embed",
}


def check(facts: ModelFacts, build: EngineBuild) -> None:
    """Raise SpecError when `build` cannot serve the model's architecture, or cannot read its kind of config.json."""
    task(facts)
    if facts.model_type is not None and facts.model_type not in model_types():
        alike = nearest(facts.model_type, model_types())
        raise SpecError(
            "unknown-model-type",
            f"{build.id} does not know the model type {facts.model_type}",
            why="the type decides how config.json is read",
            where="config.json: model_type",
            hint="check the spelling in config.json" if alike else "choose a model whose type vLLM knows",
            detail=tuple(f"it does know {other}" for other in alike),
        )


def task(facts: ModelFacts) -> str:
    """What the model does: `generate | embed | classify`.

    Raises SpecError when vLLM has no implementation of its architecture, with the nearest names it has, and when the
    model is a draft for speculative decoding, which cannot be served alone.
    """
    if not facts.architectures:
        raise SpecError(
            "no-architecture",
            "the model's config.json names no architecture",
            why="vLLM chooses the implementation by the key `architectures`",
            where="config.json",
            hint='add the key to config.json, for example "architectures": ["LlamaForCausalLM"]',
        )
    kinds = [(name, _kind(name)) for name in facts.architectures]
    for name, kind in kinds:
        if kind in ("generate", "transformers"):
            return "generate"
        if kind in ("embed", "classify"):
            return str(kind)
        if kind == "speculate":
            raise SpecError(
                "draft-only-model",
                f"{name} is a draft for speculative decoding and cannot be served by itself",
                where="config.json: architectures",
                hint="deploy the model it was trained for, and name this one with --speculative METHOD:MODEL",
            )
    name, kind = kinds[0]
    alike = nearest(name, (known for known, sort in architectures().items() if sort not in ("gone", "speculate")))
    raise SpecError(
        "unsupported-architecture",
        f"vLLM {VLLM_VERSION} cannot serve the architecture {name}",
        why="an earlier vLLM could; its support was removed" if kind == "gone" else "it has no implementation of it",
        where="config.json: architectures",
        hint="check the spelling in config.json" if alike else "choose a model whose architecture vLLM supports",
        detail=tuple(f"it does know {other}" for other in alike),
    )


def _kind(name: str) -> str | None:
    """The table's word for an architecture, also when only a sister of it (another suffix) is in the table."""
    known = architectures()
    if name in known:
        return known[name]
    for suffix, kind in _SUFFIXES.items():
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            if any(known.get(stem + other) in ("generate", "embed", "classify") for other in _SUFFIXES):
                return kind
            return None
    return None
