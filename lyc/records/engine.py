"""What the engine stage hands on: how to start an engine, how to ask after it, what its log means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lyc.records.secret import Secret


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """Where an engine is to run and under which names.

    bin_dir: the `bin` of its environment; None in a container, whose image has vllm on its path. work_dir: private
    folder of the replica (0700) for its files. socket: unix socket it must listen on; None: a port of the loopback,
    which its supervisor chooses. served_name: the `model` that clients send. key: the engine's own key; it must not
    begin with a dash. cache_dir: where engines of this machine keep what they compiled, or None. own_cache_dir: where
    it keeps what no other model can use, None: there too.
    """

    bin_dir: Path | None
    work_dir: Path
    model_path: Path
    socket: Path | None
    served_name: str
    key: Secret
    draft_path: Path | None = None
    cache_dir: Path | None = None
    own_cache_dir: Path | None = None
    sleeps: bool = False


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """A complete recipe for one engine process.

    argv and env hold no secret; `files` (absolute path → content) are written 0600 before the start and may.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    files: dict[Path, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineProgress:
    """What one log line says about the start. stage: `import | load | compile | serve`; fraction 0…1 where it says."""

    stage: str
    message: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """What a running engine says of its memory, of one GPU (of the host on the CPU build). None = it did not say.

    weights, kv_cache, cuda_graph: bytes; vLLM logs hundredths of a GiB. kv_blocks comes from its metrics.
    """

    weights: int | None = None
    kv_cache: int | None = None
    cuda_graph: int | None = None
    kv_tokens: int | None = None
    kv_blocks: int | None = None
    concurrency: float | None = None


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What a running engine says of its load at one instant.

    running, waiting: requests that it works on, and that it holds back. kv_usage: share of its KV cache in use, 0 to 1;
    None = it did not say. tokens: read and written since it started; while requests run and it stands still, nothing
    moves.
    """

    running: int
    waiting: int
    kv_usage: float | None
    tokens: int
