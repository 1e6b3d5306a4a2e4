"""How one model sits on one kind of GPU, foretold: memory, KV cache, speed and cost; or the reasons why it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from lyc.records.card import Card, Price
from lyc.records.serving import CacheSize, Serving, Term


@dataclass(frozen=True, slots=True)
class Speed:
    """At `concurrency` requests with `context` tokens each.

    decode: answer tokens a second over all requests; each: of one request. prefill: prompt tokens a second.
    first_token: seconds until the first token of a prompt of `context` tokens on an idle engine. bound: what limits
    decode, `memory` or `compute`. band: relative, 0.3 means ±30 %.
    """

    concurrency: int
    context: int
    decode: float
    each: float
    prefill: float
    first_token: float
    bound: str
    band: float
    formula: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs, over all cards. currency: as the price has it.

    per_million: answer tokens at the load of `Speed`. break_even: millions of tokens a month above which this is
    cheaper than `--per-token-price`, None when none was given or the speed cannot reach it. monthly: always on, 730
    h. monthly_active: with scale-to-zero, for the `--active-hours` a week that were given.
    """

    per_hour: Decimal
    currency: str
    per_million: Decimal | None = None
    monthly: Decimal | None = None
    monthly_active: Decimal | None = None
    break_even: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a candidate does not do. ref: kebab-case, for programs (`no-kv-room`). text: one line, with figures."""

    ref: str
    text: str


@dataclass(frozen=True, slots=True)
class Fit:
    """One candidate, decided: `count` cards of one kind with tp × pp = count.

    quantization: as asked or chosen; None = as the weights are. terms: of the GPU that is fullest; they add up to
    what vLLM may use of it. fits: False = refused, with reasons. warnings: it may fail (inside the band), or is
    unlike what was asked. band: bytes by which the room for the KV cache may be off. cache: None when refused before
    it was sized. needed: bytes of KV cache that one request of max_model_len takes on one GPU. free: bytes of the
    card that vLLM leaves.
    """

    card: Card
    count: int
    serving: Serving
    fits: bool
    quantization: str | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    band: int = 0
    needed: int = 0
    doubtful: bool = False
    cache: CacheSize | None = None
    price: Price | None = None
    speed: Speed | None = None
    cost: Cost | None = None

    def size(self, part: str) -> int:
        """Bytes of all terms of one part."""
        return sum(term.size for term in self.terms if term.part == part)


@dataclass(frozen=True, slots=True)
class Survey:
    """All candidates of one model.

    fits: cheapest first, those of unknown price last. chosen: the cheapest that leaves the weights as they are and is
    not inside the band of error, if there is such a one; None where nothing fits. rejected: the nearest to fitting
    first. nearest: where nothing fits as asked, what would (smaller quantization, more cards, shorter context). notes:
    what is unknown or assumed.
    """

    fits: tuple[Fit, ...]
    rejected: tuple[Fit, ...]
    chosen: Fit | None = None
    nearest: Fit | None = None
    notes: tuple[str, ...] = field(default=())
