"""Where an engine keeps what it compiled, so that the next start finds it.

What any model may use again (kernels of Triton, pieces of Inductor: by their content) lies in one folder a build. What
vLLM keeps in its own cache (compiled graphs, by a hash over all its options, the model's path and its own code) serves
the same weights on the same card alone: it has a folder for each, which goes when those weights go. Only what vLLM has
found out about its own model classes lies in there too, though any weights may use it: so that is a link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lyc.records.plan import Plan

FOR = "for"
"""Beside what all of a build share, the folder of those that only one model can use."""
SNAPSHOT_DIGITS = 16
"""Of a snapshot's digest, in the name of its folder: `lyc.agent.prune` tells by them what may go."""
MODEL_INFOS = "modelinfos"
"""What vLLM calls its notes on model classes, below `VLLM_CACHE_ROOT` (0.32, `model_executor/models/registry.py`). Each
is found out by a process of its own that loads all of torch: 12 s of the 21 s of a CPU that a start takes without.
"""
_LINK = (
    f'{{ mkdir -p "$0/{MODEL_INFOS}" "$VLLM_CACHE_ROOT" && {{ [ -e "$VLLM_CACHE_ROOT/{MODEL_INFOS}" ] || '
    f'ln -s "$0/{MODEL_INFOS}" "$VLLM_CACHE_ROOT"; }}; }} 2>/dev/null; exec "$@"'
)
_PLAIN = re.compile(r"[^a-z0-9]+")


def folder(shared: Path, snapshot: str, plan: Plan) -> Path:
    """`shared/for/<snapshot>-<card>`. shared: of the build. snapshot: `sha256:<hex>`."""
    card = _PLAIN.sub("-", plan.accelerator.lower()).strip("-") or "cpu"
    return shared / FOR / f"{snapshot.rpartition(':')[2][:SNAPSHOT_DIGITS]}-{card}"


def linked(shared: Path, argv: Sequence[str]) -> list[str]:
    """`argv`, before which the shell of its machine lets the folder that `VLLM_CACHE_ROOT` names have the notes of all;
    it becomes that command then. Where that cannot be, vLLM makes its own.
    """
    return ["/bin/sh", "-c", _LINK, str(shared), *argv]
