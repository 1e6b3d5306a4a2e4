"""A survey as the JSON document of `lyc plan --json`. Its schema stands in `docs/plan.md`. Pure.

Sizes are in GiB at full precision; amounts of money are JSON numbers, written from decimals, with `currency` beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from lyc.cli.plan_model import Planned
from lyc.records.fit import Cost, Fit, Speed, Survey
from lyc.records.serving import Draft, Serving, Term
from lyc.units import GIB

_PARTS = ("weights", "non_torch", "activation", "cuda_graph", "kv_cache")
_PLACES = Decimal("0.000001")


def survey_document(
    planned: Planned, survey: Survey, notes: Sequence[str], sibling: Fit | None = None
) -> dict[str, object]:
    """`{model, chosen, nearest, sibling, fits, rejected, notes}`. chosen: one of `fits`, null where nothing fits."""
    return {
        "model": model_document(planned),
        "chosen": fit_document(survey.chosen) if survey.chosen else None,
        "nearest": fit_document(survey.nearest) if survey.nearest else None,
        "sibling": fit_document(sibling) if sibling else None,
        "fits": [fit_document(fit) for fit in survey.fits],
        "rejected": [fit_document(fit) for fit in survey.rejected],
        "notes": list(notes),
    }


def model_document(planned: Planned) -> dict[str, object]:
    """What is planned. weights_gib: of the checkpoint, not of a GPU."""
    facts, architecture = planned.facts, planned.facts.architecture
    return {
        "ref": str(planned.ref),
        "revision": planned.ref.revision,
        "architecture": facts.architectures[0] if facts.architectures else None,
        "known": bool(architecture and architecture.known),
        "parameters": planned.parameters,
        "weights_gib": _gib(planned.weights),
        "dtype": facts.dtype,
        "quantization": facts.quantization,
        "max_model_len": planned.longest,
        "tensors_from": facts.tensors_from.value,
        "unknown": list(planned.unknown),
        "adapter": planned.adapter
        and {
            "ref": str(planned.adapter_ref),
            "rank": planned.adapter.rank,
            "targets": list(planned.adapter.targets),
            "weights_gib": _gib(planned.adapter.weights_bytes),
        },
    }


def fit_document(fit: Fit) -> dict[str, object]:
    """One candidate. What was not computed, because it was refused before, is null."""
    sized = bool(fit.terms)
    cost, speed, cache = fit.cost, fit.speed, fit.cache
    return {
        "gpu": fit.card.name,
        "product": fit.card.product,
        "count": fit.count,
        "tp": fit.serving.tp,
        "pp": fit.serving.pp,
        "quantization": fit.quantization or fit.serving.quantization,
        "quantized_while_loading": fit.quantization is not None,
        "fits": fit.fits,
        "reasons": [reason.text for reason in fit.reasons],
        "reason_refs": [reason.ref for reason in fit.reasons],
        "warnings": list(fit.warnings),
        "memory": {
            "cuda_total_gib": _gib(fit.card.cuda_total),
            **{f"{part}_gib": _gib(fit.size(part)) if sized else None for part in _PARTS},
        },
        "band_gib": _gib(fit.band) if sized else None,
        "kv_cache_tokens": cache.tokens if cache else None,
        "kv_blocks": cache.blocks if cache else None,
        "max_concurrency": cache.concurrency if cache else None,
        "kv_needed_gib": _gib(fit.needed) if sized else None,
        "price_per_hour": _money(cost.per_hour) if cost else _hourly(fit),
        "currency": cost.currency if cost else fit.price.currency if fit.price else None,
        "tokens_per_second": speed.decode if speed else None,
        "price_per_million_tokens": _money(cost.per_million) if cost else None,
        "serving": _serving(fit.serving),
        "terms": [_term(term) for term in fit.terms],
        "speed": speed and _speed(speed),
        "cost": cost and _cost(cost),
        "price": fit.price
        and {
            "amount": _money(fit.price.amount),
            "currency": fit.price.currency,
            "dated": fit.price.dated or None,
            "source": fit.price.source,
            "page": fit.price.page or None,
            "country": fit.price.country or None,
            "region": fit.price.region or None,
        },
    }


def _speed(speed: Speed) -> dict[str, object]:
    return {
        "concurrency": speed.concurrency,
        "context": speed.context,
        "decode_tokens_per_second": speed.decode,
        "decode_tokens_per_second_each": speed.each,
        "prefill_tokens_per_second": speed.prefill,
        "first_token_seconds": speed.first_token,
        "bound": speed.bound,
        "band": speed.band,
        "formula": speed.formula,
        "source": speed.source,
    }


def _serving(serving: Serving) -> dict[str, object]:
    return {
        "vllm_version": ".".join(map(str, serving.version)),
        "dtype": serving.dtype,
        "quantization": serving.quantization,
        "kv_cache_dtype": serving.kv_cache_dtype,
        "max_model_len": serving.max_model_len,
        "max_num_seqs": serving.max_num_seqs,
        "max_num_batched_tokens": serving.max_num_batched_tokens,
        "gpu_memory_utilization": float(serving.utilization),
        "block_size": serving.block_size,
        "enforce_eager": serving.enforce_eager,
        "kv_cache_gib": _gib(serving.kv_cache_bytes),
        "max_loras": serving.max_loras if serving.adapter else None,
        "speculative": serving.draft and _draft(serving.draft),
    }


def _draft(draft: Draft) -> dict[str, object]:
    return {"method": draft.method, "tokens": draft.tokens}


def _term(term: Term) -> dict[str, object]:
    return {
        "part": term.part,
        "name": term.name,
        "gib": _gib(term.size),
        "band_gib": _gib(term.band),
        "inside": term.inside,
        "formula": term.formula,
        "source": term.source,
    }


def _cost(cost: Cost) -> dict[str, object]:
    return {
        "currency": cost.currency,
        "per_hour": _money(cost.per_hour),
        "per_million_tokens": _money(cost.per_million),
        "per_month": _money(cost.monthly),
        "per_month_active": _money(cost.monthly_active),
        "break_even_million_tokens": _money(cost.break_even),
    }


def _hourly(fit: Fit) -> float | None:
    return _money(fit.price.amount * fit.count) if fit.price else None


def _money(amount: Decimal | None) -> float | None:
    """As a number of at most six places, which a float writes as they were: no 2.7899999999999996."""
    return None if amount is None else float(amount.quantize(_PLACES))


def _gib(count: int | None) -> float | None:
    return None if count is None else count / GIB
