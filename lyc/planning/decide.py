"""facts × host → Plan. What the engine stage has checked (options, quantization, draft) is taken as right here."""

from __future__ import annotations

from collections.abc import Mapping

from lyc.errors import NoFit, SpecError
from lyc.planning import memory
from lyc.planning.placement import CPU, placement
from lyc.records.deployment import DeploymentSpec
from lyc.records.model import ModelFacts
from lyc.records.plan import EngineBuild, HostFacts, Plan
from lyc.units import parse_bytes, parse_tokens, show_bytes

_OLDEST_DRIVER = 580
"""Of CUDA 13 (its release notes), which the pinned torch is built with. Older ones need NVIDIA's compatibility package,
which cannot be seen from here: so this warns and does not refuse."""
_HEADROOM = 0.95
"""Part of the available memory that a plan may use: the rest of the machine wants to live too."""


def plan(
    spec: DeploymentSpec,
    facts: ModelFacts,
    host: HostFacts,
    *,
    draft: ModelFacts | None,
    build: EngineBuild,
    freed: int = 0,
) -> Plan:
    """How `spec` runs on `host`.

    freed: bytes of memory that replicas of this deployment hold now and give back if they must stop first. A plan that
    needs them fits, but `surge_fits` says that it does not fit beside them.
    Raises NoFit with figures when it does not, SpecError when the wish contradicts the model (`--max-model-len`).
    """
    card = placement(spec.gpu, host)
    if (card.name == CPU) != build.on_cpu:
        raise NoFit(
            "engine-for-another-device",
            f"{build.id} does not run on {card.name}",
            where="--gpu",
            hint="choose --gpu cpu" if build.on_cpu else "choose --gpu auto",
        )
    warnings: list[str] = []
    context = _context(spec, facts, build, warnings)
    kv_bytes, memory_bytes = (
        _cpu_memory(spec, facts, draft, host, context=context, freed=freed) if build.on_cpu else (None, None)
    )
    warnings += _cpu_warnings(facts) if build.on_cpu else _driver_warnings(host)
    wish = spec.speculative
    return Plan(
        engine=build,
        accelerator=card.name,
        accelerator_count=int(_given(spec.engine_args, "tensor-parallel-size") or 1),
        max_model_len=context,
        quantization=spec.quantization,
        speculative_method=wish.method if wish else None,
        speculative_model=wish.model if wish else None,
        speculative_tokens=wish.tokens if wish else None,
        kv_cache_bytes=kv_bytes,
        dtype="auto",
        enforce_eager=build.on_cpu and not _compiles(spec.engine_args),
        memory_bytes=memory_bytes,
        engine_args=dict(spec.engine_args),
        env=dict(spec.env),
        warnings=tuple(warnings),
    )


def surge_fits(planned: Plan, host: HostFacts) -> bool:
    """Whether a second replica of the plan fits beside the running one, by what is free on the host now."""
    if planned.accelerator != CPU:
        needed = planned.memory_bytes or 0
        same = [card for card in host.accelerators if card.name == planned.accelerator]
        free = [card for card in same if needed and card.memory_free >= needed]
        return len(free) >= planned.accelerator_count
    return (planned.memory_bytes or 0) <= host.memory_available * _HEADROOM


def _context(spec: DeploymentSpec, facts: ModelFacts, build: EngineBuild, warnings: list[str]) -> int | None:
    """The context length to serve; None leaves it to the engine, when neither the user nor the model says one."""
    own, wish = facts.max_position_embeddings, spec.max_model_len
    if wish is not None and wish < 1:
        raise SpecError(
            "bad-max-model-len",
            f"a context of {wish} tokens cannot be",
            where="--max-model-len",
            hint="give a positive number of tokens, like 4096 or 8k",
        )
    if wish is not None and own is not None and wish > own:
        raise SpecError(
            "max-model-len-too-large",
            f"the model cannot read {wish} tokens",
            why=f"its own limit is {own} (max_position_embeddings)",
            where="--max-model-len",
            hint=f"give --max-model-len {own} or less",
        )
    if wish is not None or own is None or not build.on_cpu or own <= memory.DEFAULT_CONTEXT:
        return wish or own
    warnings.append(
        f"the context is {memory.DEFAULT_CONTEXT} tokens on a CPU; the model can read {own}: --max-model-len {own}"
    )
    return memory.DEFAULT_CONTEXT


def _cpu_memory(
    spec: DeploymentSpec,
    facts: ModelFacts,
    draft: ModelFacts | None,
    host: HostFacts,
    *,
    context: int | None,
    freed: int,
) -> tuple[int, int]:
    """(bytes of KV cache, bytes in all) for one replica on the host's CPU. Raises NoFit with the figures."""
    widened = _given(spec.engine_args, "dtype") in ("float32", "float") and facts.dtype in ("bfloat16", "float16")
    one_request = memory.kv_for(context or memory.DEFAULT_CONTEXT, facts, draft, widened=widened)
    fixed = memory.fixed(facts, draft, widened=widened)
    given = _given(spec.engine_args, "kv-cache-memory-bytes")
    wished = _bytes(given) if given else None
    if wished is not None and wished < (one_request or 0):
        raise _small_kv(wished, one_request or 0, context)
    least = wished or max(one_request or 0, memory.KV_LEAST)
    # vLLM binds a worker to one memory node and refuses a KV cache larger than what is free there.
    free = min(host.memory_available, host.node_memory_available or host.memory_available)
    room = int(free * _HEADROOM) - fixed
    if room < least:
        room = int((free + freed) * _HEADROOM) - fixed
    if room < least:
        raise _no_memory(facts, host, fixed, least, context)
    chosen = wished or min(least * memory.KV_SEQUENCES, max(memory.KV_MOST, least), room)
    return chosen, fixed + chosen


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


def _cpu_warnings(facts: ModelFacts) -> list[str]:
    formats = {facts.quantization, facts.quantization_detail.get("format")}
    if formats & {"fp8", "float-quantized"}:
        return ["FP8 weights are very slow on a CPU; an int8 (W8A8) checkpoint is much faster there"]
    return []


def _driver_warnings(host: HostFacts) -> list[str]:
    major = (host.driver or "").partition(".")[0]
    if major.isdigit() and int(major) < _OLDEST_DRIVER:
        return [
            f"the NVIDIA driver {host.driver} is older than {_OLDEST_DRIVER}, which the engine's CUDA 13 wants; "
            "the engine may not start"
        ]
    return []


def _compiles(engine_args: Mapping[str, str]) -> bool:
    """Whether the user asked for a compiled model: it takes minutes to start on a CPU, so it is not the default."""
    eager = _given(engine_args, "enforce-eager")
    if eager is not None:
        return eager.lower() in ("false", "0", "no", "off")
    names = {_name(written).partition(".")[0] for written in engine_args}
    return bool(names & {"no-enforce-eager", "compilation-config", "optimization-level"})


def _given(engine_args: Mapping[str, str], name: str) -> str | None:
    return next((value for written, value in engine_args.items() if _name(written) == name), None)


def _name(written: str) -> str:
    return written.lstrip("-").replace("_", "-")


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text) if not text.isdigit() else int(text)
    except ValueError:
        return parse_tokens(text)
