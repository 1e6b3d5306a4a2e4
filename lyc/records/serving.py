"""How the engine is started, as far as memory and speed depend on it: every option decided, none left to a default."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lyc.records.architecture import AdapterFacts
from lyc.records.model import ModelFacts


@dataclass(frozen=True, slots=True)
class Draft:
    """What speculative decoding loads beside the model. facts: of the draft model, None for mtp, ngram and suffix."""

    method: str
    tokens: int
    facts: ModelFacts | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """vLLM's options after its own defaults are applied.

    version: of vLLM, as numbers (0.19.0 → (0, 19, 0)). dtype: of activations. quantization: the method in force, as
    vLLM names it, or None. utilization: part of the card that vLLM may use. block_size: None = vLLM chooses.
    max_model_len in tokens. on_cpu: the CPU build, whose memory is host memory. kv_cache_bytes: fixes the KV cache
    instead of measuring. capability: compute capability of the card (90 means 9.0), which chooses the attention
    kernels and with them the size of a block; None = unknown.
    """

    version: tuple[int, ...]
    tp: int = 1
    pp: int = 1
    dtype: str = "bfloat16"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    max_model_len: int = 8192
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    utilization: Fraction = Fraction(92, 100)
    block_size: int | None = None
    enforce_eager: bool = False
    on_cpu: bool = False
    kv_cache_bytes: int | None = None
    draft: Draft | None = None
    adapter: AdapterFacts | None = None
    max_loras: int = 1
    capability: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of pipeline parallelism: layers first..last (exclusive) of the model, and whether it holds the ends."""

    index: int
    of: int
    first: int
    last: int

    @property
    def embeds(self) -> bool:
        return self.index == 0

    @property
    def samples(self) -> bool:
        return self.index == self.of - 1


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a GPU's memory. formula: with the numbers put in. source: where the formula or figure is from.

    band: bytes by which it may be off, either way. inside: counted in what vLLM may use; False = comes on top of it.
    part: the key under which documents show it.
    """

    part: str  # weights | non_torch | activation | cuda_graph | kv_cache
    name: str
    size: int
    formula: str = ""
    source: str = ""
    band: int = 0
    inside: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that one request takes, by its length: ceil(min(length, cap) / tokens) + extra, of `bytes` each.

    tokens: of a block; 0 = as many blocks for every length. cap: tokens that are ever held, None = all.
    """

    tokens: int
    bytes: int
    cap: int | None = None
    extra: int = 0

    def blocks(self, length: int) -> int:
        held = length if self.cap is None else min(length, self.cap)
        return (-(-held // self.tokens) if self.tokens else 0) + self.extra


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """How vLLM lays out the KV cache of one pipeline stage.

    block_bytes: bytes that one block takes over all layers of the stage (hybrid models: group size × page). groups:
    layers that share block numbers. block_tokens: tokens of a block (of the attention groups). request_blocks: that
    one request of max_model_len takes, over all groups. spans: what the start check of the version counts for a
    request, by its length. reserved: blocks that it leaves out because they are never given away. formula, source: as
    in `Term`. Zero groups = the model keeps no cache.
    """

    block_bytes: int
    groups: int
    block_tokens: int
    request_blocks: int
    formula: str = ""
    source: str = ""
    band: float = 0.0  # relative
    spans: tuple[Span, ...] = ()
    checked_bytes: int | None = None
    reserved: int = 0

    @property
    def request_bytes(self) -> int:
        """What the start check asks for: one request of max_model_len, counted as the version counts it."""
        needed = self.request_blocks * self.block_bytes if self.checked_bytes is None else self.checked_bytes
        return needed + self.reserved * self.block_bytes


@dataclass(frozen=True, slots=True)
class CacheSize:
    """What vLLM reports of a KV cache. tokens: as the version's log line "GPU KV cache size" counts them.

    concurrency: requests of max_model_len at once, as a number (vLLM logs it with two places).
    """

    blocks: int
    tokens: int
    concurrency: float
