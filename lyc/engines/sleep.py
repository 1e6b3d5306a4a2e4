"""vLLM's sleep mode: what an engine needs so that it can, what it is asked, and what it keeps. Pure.

Level 1: weights go to the memory of the host, the KV cache is dropped, the process stays (`v1/worker/gpu_worker.py`
and `entrypoints/serve/dev/sleep` of 0.32; docs: features/sleep_mode). CUDA only: the CPU worker says that it ignores
it, and the server calls itself asleep all the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from lyc.engines import guard
from lyc.records.plan import Plan
from lyc.records.secret import Secret
from lyc.units import GIB

SLEEP_PATH = "/sleep?level=1"
WAKE_PATH = "/wake_up"
ASLEEP_PATH = "/is_sleeping"
CALL_SECONDS = 120.0
"""For one of them: weights go over the bus at tens of GB/s, but memory of the host that has to be pinned comes slowly
the first time.
"""
KEEPS = int(2.5 * GIB)
"""Of its card while it sleeps, beside its CUDA graphs: CUDA's context and what is allocated outside of the pool that
sleeps. "GiB memory is still in use" in logs of vLLM on 80 GB cards that others published, graphs included: 1.31
(Qwen2.5-14B), 1.38 (it took 2.8 s to fall asleep) and 4.29.
"""
KEEPS_TOGETHER = int(5.5 * GIB)
"""The same where an engine goes over several cards, whose communicators stay: 6.8 to 7.0 GiB with 1.5 GiB of graphs on
GB200 with tp 8 (vllm-project/vllm, issue 47654).
"""
_MODULE = "lyc_guard"


def words() -> tuple[str, ...]:
    """In argv."""
    return ("--enable-sleep-mode", "--middleware", f"{_MODULE}.{guard.Guard.__name__}")


def environment(work_dir: Path) -> dict[str, str]:
    """In the environment, beside the rest."""
    return {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": str(work_dir)}


def files(work_dir: Path) -> dict[Path, Secret]:
    """Beside the configuration."""
    return {work_dir / f"{_MODULE}.py": Secret(Path(guard.__file__).read_text(encoding="utf-8"))}


def keeps(plan: Plan) -> int:
    """Bytes of each of its cards that an engine keeps while it sleeps."""
    graphs = plan.forecast.cuda_graph if plan.forecast else 0
    return graphs + (KEEPS if plan.accelerator_count == 1 else KEEPS_TOGETHER)


def sleeping(answer: str) -> bool | None:
    """What the engine says of itself; None = it says nothing that can be read."""
    try:
        said = json.loads(answer)
    except ValueError:
        return None
    found = said.get("is_sleeping") if isinstance(said, dict) else None
    return found if isinstance(found, bool) else None
