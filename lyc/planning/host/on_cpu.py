"""A deployment on the CPU of one host: how much of its memory the model, its KV cache and the processes take."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.errors import NoFit
from lyc.planning.cache import kv_layout
from lyc.planning.host import engine_args, memory
from lyc.records.deployment import DeploymentSpec
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild, Forecast, HostFacts
from lyc.records.serving import CacheLayout, Draft, Serving, Stage
from lyc.records.wish import Wish
from lyc.units import show_bytes

HEADROOM = 0.95
"""Part of the available memory that a plan may use: the rest of the machine wants to live too."""


@dataclass(frozen=True, slots=True)
class OnCpu:
    """kv_cache: bytes of the KV cache to give the engine. memory: bytes in all."""

    kv_cache: int
    memory: int
    forecast: Forecast | None


def on_cpu(
    spec: DeploymentSpec,
    facts: ModelFacts,
    draft: ModelFacts | None,
    host: HostFacts,
    *,
    build: EngineBuild,
    context: int | None,
    freed: int,
) -> OnCpu:
    """One replica on the host's CPU. Raises NoFit with the figures."""
    wish = engine_args.asked(spec, build)
    widened = wish.dtype == "float32" and facts.dtype in ("bfloat16", "float16")
    serving = _serving(spec, facts, draft, wish, context, widened=widened)
    layout = kv_layout.layout(facts, serving, _whole(facts)) if facts.architecture else None
    if layout is not None:
        one_request: int | None = layout.request_bytes + layout.block_bytes  # vLLM keeps one block empty
    else:
        one_request = memory.kv_for(serving.max_model_len, facts, draft, widened=widened)
    fixed = memory.fixed(facts, draft, widened=widened)
    wished = wish.kv_cache_bytes
    if wished is not None and wished < (one_request or 0):
        raise _small_kv(wished, one_request or 0, context)
    least = wished or max(one_request or 0, memory.KV_LEAST)
    # vLLM binds a worker to one memory node and refuses a KV cache larger than what is free there.
    free = min(host.memory_available, host.node_memory_available or host.memory_available)
    room = int(free * HEADROOM) - fixed
    if room < least:
        room = int((free + freed) * HEADROOM) - fixed
    if room < least:
        raise _no_memory(facts, host, fixed, least, context)
    chosen = wished or min(least * memory.KV_SEQUENCES, max(memory.KV_MOST, least), room)
    foretold = _forecast(facts, layout, chosen, serving) if layout is not None else None
    return OnCpu(chosen, fixed + chosen, foretold)


def _serving(
    spec: DeploymentSpec,
    facts: ModelFacts,
    draft: ModelFacts | None,
    wish: Wish,
    context: int | None,
    *,
    widened: bool,
) -> Serving:
    """Of vLLM's options those that decide about the KV cache on a CPU."""
    speculative = spec.speculative
    own = facts.dtype if facts.dtype in ("bfloat16", "float16") else "bfloat16"
    return Serving(
        version=wish.version,
        dtype="float32" if widened else own,
        kv_cache_dtype=wish.kv_cache_dtype or "auto",
        max_model_len=context or memory.DEFAULT_CONTEXT,
        block_size=wish.block_size,
        max_num_seqs=wish.max_num_seqs or memory.SEQUENCES,
        max_num_batched_tokens=wish.max_num_batched_tokens or memory.BATCHED_TOKENS,
        on_cpu=True,
        draft=Draft(speculative.method, speculative.tokens or 1, draft) if speculative else None,
    )


def _whole(facts: ModelFacts) -> Stage:
    return Stage(0, 1, 0, len(facts.architecture.layers) if facts.architecture else 0)


def _forecast(facts: ModelFacts, layout: CacheLayout, available: int, serving: Serving) -> Forecast:
    cache = kv_layout.size(layout, available, serving)
    return Forecast(facts.weights_bytes or facts.stored_bytes, available, cache.tokens, cache.blocks, cache.concurrency)


def _no_memory(facts: ModelFacts, host: HostFacts, fixed: int, kv: int, context: int | None) -> NoFit:
    available = min(host.memory_available, host.node_memory_available or host.memory_available)
    return NoFit(
        "not-enough-memory",
        f"the model does not fit into the memory of {host.name}",
        why=f"about {show_bytes(fixed + kv)} are needed, {show_bytes(available)} of "
        f"{show_bytes(host.memory_total)} are available",
        hint="give a smaller --max-model-len, free memory, or choose a larger machine or a smaller model",
        detail=(
            f"weights {show_bytes(facts.weights_bytes or 0)}",
            f"KV cache for one request of {context or 'full'} tokens {show_bytes(kv)}",
            f"the engine's processes {show_bytes(memory.PROCESS_BYTES)}",
        ),
    )


def _small_kv(wished: int, needed: int, context: int | None) -> NoFit:
    return NoFit(
        "kv-cache-too-small",
        f"a KV cache of {show_bytes(wished)} cannot hold one request of {context} tokens",
        why=f"{show_bytes(needed)} are needed",
        where="--engine-arg kv-cache-memory-bytes",
        hint="leave it out, give more, or give a smaller --max-model-len",
    )


def doubts(facts: ModelFacts) -> list[str]:
    """What works on a CPU but not as a person would wish."""
    formats = {facts.quantization, facts.quantization_detail.get("format")}
    if formats & {"fp8", "float-quantized"}:
        return ["FP8 weights are very slow on a CPU; an int8 (W8A8) checkpoint is much faster there"]
    return []
