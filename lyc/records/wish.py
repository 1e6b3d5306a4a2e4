"""What a person asks of a plan. None or empty = lyc decides, or vLLM's own default holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from lyc.records.architecture import AdapterFacts
from lyc.records.card import Card, Price
from lyc.records.serving import Draft


@dataclass(frozen=True, slots=True)
class Wish:
    """One question to the planner.

    version: of vLLM, as numbers. cards: the kinds to look at, empty = the catalogue. others: those that may be named
    where none of these does, empty = the catalogue. count: cards of one replica (tp × pp). concurrency, context: so
    many requests of so many tokens each must be held at once. prices: by card name; a card that is absent has none.
    per_token_price: of a million tokens elsewhere, in `currency`. active_hours: hours a week in which the endpoint is
    used. kv_cache_bytes: fixes the KV cache. on_cpu: the CPU build. requantize: whether to look at weights made smaller
    while they load (fp8), as alternatives.
    """

    version: tuple[int, ...]
    cards: tuple[Card, ...] = ()
    others: tuple[Card, ...] = ()
    count: int | None = None
    tp: int | None = None
    pp: int | None = None
    quantization: str | None = None
    dtype: str | None = None
    kv_cache_dtype: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    utilization: Fraction | None = None
    block_size: int | None = None
    enforce_eager: bool = False
    kv_cache_bytes: int | None = None
    on_cpu: bool = False
    concurrency: int | None = None
    context: int | None = None
    draft: Draft | None = None
    adapter: AdapterFacts | None = None
    max_loras: int = 1
    prices: Mapping[str, Price] = field(default_factory=dict)
    currency: str = "EUR"
    per_token_price: Decimal | None = None
    active_hours: Decimal | None = None
    requantize: bool = True
