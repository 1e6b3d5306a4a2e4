"""Which files of a model serving needs. Pure; the same for every source.

Kept: safetensors and their index, configurations, tokenizers, chat templates, adapters. Only the top folder counts,
and the numbered folders (`1_Pooling/`) of sentence-transformers. Never kept: Python files (lyc runs no code that comes
with weights), optimizer and trainer states, other frameworks' weights, `original/`, `onnx/` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

_KEEP = (
    "*.safetensors", "*.safetensors.index.json", "*config*.json", "*token*.json", "vocab*", "merges.txt", "*.model",
    "*.tiktoken", "tekken.json", "params.json", "chat_template*", "*.jinja", "modules.json",
)  # fmt: skip
_STATE = (
    "optimizer*", "scheduler*", "rng_state*", "trainer_*", "training_*", "scaler*", "random_states*", "*optim_states*",
)  # fmt: skip
_PICKLE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CODE = (".py", ".pyc", ".so", ".sh")
_SUBFOLDER = re.compile(r"\d+_[A-Za-z]+|additional_chat_templates")
_VARIANT = re.compile(r"model\.[A-Za-z0-9_]+\.safetensors")


@dataclass(frozen=True, slots=True)
class Selection:
    """keep: files to serve. refused: weights at the top in a form that is not served (pickle, GGUF)."""

    keep: tuple[str, ...]
    refused: tuple[str, ...]


def select(paths: Iterable[str]) -> Selection:
    """Sort the files of a model. `paths` are relative with forward slashes; the result is sorted."""
    plain = sorted(path for path in set(paths) if _is_plain(path))
    keep = {path for path in plain if _wanted(path)}
    if any(fnmatchcase(path, "model*.safetensors") for path in keep):
        # Mistral ships the same weights twice; params.json would make the engine look for the copy that is left out.
        keep -= {path for path in keep if fnmatchcase(path, "consolidated*.safetensors*")}
        if "config.json" in keep:
            keep.discard("params.json")
    if "model.safetensors" in keep:
        keep -= {path for path in keep if _VARIANT.fullmatch(path)}
    return Selection(tuple(sorted(keep)), tuple(path for path in plain if _is_refused(path)))


def is_model_folder(name: str) -> bool:
    """Whether a folder beside config.json can hold files of the model, so that it is worth a look."""
    return _SUBFOLDER.fullmatch(name) is not None


def _is_plain(path: str) -> bool:
    """At the top or in a known folder, and fit to be a file's name anywhere."""
    folder, slash, name = path.rpartition("/")
    if not name or name.startswith(".") or "\\" in path or not path.isprintable() or len(name.encode()) > 255:
        return False
    return not slash or is_model_folder(folder)


def _wanted(path: str) -> bool:
    name = path.rpartition("/")[2]
    if name.endswith((*_CODE, *_PICKLE)) or "bin.index.json" in name or _matches(name, _STATE):
        return False
    return _matches(name, _KEEP)


def _is_refused(path: str) -> bool:
    if "/" in path or _matches(path, _STATE):
        return False
    return path.lower().endswith((*_PICKLE, ".gguf"))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
