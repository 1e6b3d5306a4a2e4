"""Where an engine keeps what it compiled, so that the next start finds it.

What any model may use again (kernels of Triton, pieces of Inductor: by their content) lies in one folder a build. What
vLLM keeps in its own cache (compiled graphs, by a hash over all its options, the model's path and its own code) serves
the same weights on the same card alone: it has a folder for each, which goes when those weights go.
"""

from __future__ import annotations

import re
from pathlib import Path

from lyc.records.plan import Plan

FOR = "for"
"""Beside what all of a build share, the folder of those that only one model can use."""
SNAPSHOT_DIGITS = 16
"""Of a snapshot's digest, in the name of its folder: `lyc.agent.prune` tells by them what may go."""
_PLAIN = re.compile(r"[^a-z0-9]+")


def folder(shared: Path, snapshot: str, plan: Plan) -> Path:
    """`shared/for/<snapshot>-<card>`. shared: of the build. snapshot: `sha256:<hex>`."""
    card = _PLAIN.sub("-", plan.accelerator.lower()).strip("-") or "cpu"
    return shared / FOR / f"{snapshot.rpartition(':')[2][:SNAPSHOT_DIGITS]}-{card}"
