"""The tables under `data/`, generated from the pinned engine, as typed values. Read once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lyc.engines.versions import VLLM_VERSION


@dataclass(frozen=True, slots=True)
class Option:
    """An option of `vllm serve`. kind: `flag` (has --no-x), `switch` (bare), `list` (several values) or `value`.

    choices is empty when any value may be right; `open` says that names outside of it may be right too.
    """

    name: str
    kind: str
    choices: tuple[str, ...] = ()
    open: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """A quantization method. min_capability: least CUDA compute capability (75 = 7.5). dtypes: of activations."""

    name: str
    min_capability: int
    dtypes: tuple[str, ...]


def _load(name: str) -> dict[str, dict[str, object]]:
    text = files("lyc.engines").joinpath(f"data/{name}-{VLLM_VERSION}.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, object]] = json.loads(text)
    return loaded


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


@cache
def options() -> dict[str, Option]:
    """Option name without dashes → Option. Aliases are entries of their own."""
    return {
        name: Option(name, str(row["kind"]), _strings(row.get("choices")), bool(row.get("open", False)))
        for name, row in _load("options").items()
    }


@cache
def architectures() -> dict[str, str]:
    """Architecture → `generate | embed | classify | speculate | transformers | gone`.

    transformers: served through the Transformers library. gone: vLLM could serve it once.
    """
    return {name: str(kind) for name, kind in _load("architectures").items()}


@cache
def model_types() -> frozenset[str]:
    """What `model_type` in config.json may be."""
    return frozenset(_load("model-types"))


@cache
def quantization_methods() -> dict[str, Method]:
    return {
        name: Method(name, int(str(row["min_capability"])), _strings(row["dtypes"]))
        for name, row in _load("quantization").items()
    }


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names most like `word`, best first; may be empty."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    return [folded[match] for match in difflib.get_close_matches(word.lower(), folded, n=count, cutoff=0.6)]
