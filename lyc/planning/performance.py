"""How fast a plan will be: a roofline, with what vLLM adds to it. An estimate with a wide band, never a promise.

One step of decoding reads the weights that its tokens touch and every token's KV cache, multiplies, and pays a latency
for each layer and each exchange between cards:

    step = max(bytes / bandwidth, operations / rate) + layers · latency + exchanges + fixed

The constants below are fitted to public benchmarks (`tests/planning/test_performance.py` prints how well), not to
single rows; they are of vLLM 0.6 to 0.23 with CUDA graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lyc.planning.catalogue.precision import Operand, operand
from lyc.planning.work import Work, work
from lyc.records.card import Card
from lyc.records.fit import Speed
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving

SOURCE = "roofline of lyc.planning.performance; constants fitted to public benchmarks of vLLM 0.6 to 0.23"


@dataclass(frozen=True, slots=True)
class Platform:
    """What a vendor's kernels reach. read: part of the bandwidth, by kind of memory; multiply: part of the dense rate
    in a long prompt, mixed: the same in a model with experts, whose matrices are many and small.

    Seconds: layer for the launches and tails of a layer, expert and latent for what experts and MLA add to it, request
    for what the processor does for each request of a step, step for the rest. eager: the factor without CUDA graphs.
    """

    read: Mapping[str, float]
    multiply: float
    mixed: float
    layer: float
    expert: float
    latent: float
    request: float
    step: float
    eager: float
    band: float


CUDA = Platform(
    # Inline ECC of GDDR6 takes a sixteenth of the transfers; HBM carries it beside the data.
    read={"HBM": 0.85, "GDDR ECC": 0.78, "GDDR": 0.9},
    multiply=0.5, mixed=0.25, layer=60e-6, expert=40e-6, latent=30e-6, request=8e-6, step=0.3e-3, eager=4.0, band=0.3,
)  # fmt: skip
ROCM = Platform(
    read={"HBM": 0.7},
    multiply=0.35, mixed=0.15, layer=200e-6, expert=100e-6, latent=60e-6, request=8e-6, step=0.5e-3, eager=2.0,
    band=0.6,
)  # fmt: skip
EXCHANGE = {"nvlink": 13e-6, "xgmi": 17e-6, "pcie": 17e-6}
"""Seconds of an all-reduce of nearly nothing, for each doubling of the cards, with the wait for the slowest."""
LINK = 0.6
"""Part of a link's bandwidth that an all-reduce reaches."""
ACCEPTANCE = {"mtp": 0.7, "eagle3": 0.65, "eagle": 0.6, "draft_model": 0.6, "medusa": 0.5, "ngram": 0.25, "suffix": 0.3}
"""Probability that a drafted token is taken, where the one before it was: assumed, it depends on the text."""
_KNOWN = (0, 34)


def speed(
    facts: ModelFacts,
    serving: Serving,
    card: Card,
    *,
    concurrency: int,
    context: int,
    active_bytes: int,
    kv_token_bytes: float,
    per_token: Work | None = None,
) -> Speed | None:
    """At `concurrency` requests of `context` tokens; None on a card whose rates are not known.

    active_bytes: of weights that one step of so many requests reads, over all GPUs. kv_token_bytes: of KV cache (and
    recurrent state) a token of such a request holds on the mean, over all GPUs. per_token: `work(facts.architecture)`,
    for those who ask often; without it `facts.architecture` must not be None.
    """
    if not card.bandwidth or not (card.bf16 or card.fp16):
        return None
    if per_token is None:
        if facts.architecture is None:
            raise ValueError("the speed of a model without an architecture cannot be told")
        per_token = work(facts.architecture)
    model = _Model(
        facts, serving, card, per_token, operand(card, _method(facts, serving), serving.dtype, _detail(facts))
    )
    drafted = serving.draft.tokens if serving.draft else 0
    step, bound = model.decode(concurrency, context, active_bytes, kv_token_bytes, checked=drafted + 1)
    accepted, drafting = model.drafts(concurrency, active_bytes)
    each = accepted / (step + drafting)
    first = model.first_token(context, active_bytes)
    return Speed(
        concurrency=concurrency,
        context=context,
        decode=each * concurrency,
        each=each,
        prefill=context / first if context else 0.0,
        first_token=first,
        bound=bound,
        band=_band(model, serving),
        formula=model.formula(concurrency, context, active_bytes, kv_token_bytes, step=step, accepted=accepted),
        source=SOURCE,
    )


def acceptance(method: str, tokens: int) -> float:
    """Tokens that one step yields on the mean: 1 + a + a² + …; 1 without drafts."""
    rate = next((rate for name, rate in ACCEPTANCE.items() if name in method), ACCEPTANCE["draft_model"])
    return float(sum(rate**drafted for drafted in range(tokens + 1)))


@dataclass(frozen=True, slots=True)
class _Model:
    facts: ModelFacts
    serving: Serving
    card: Card
    work: Work
    operand: Operand

    @property
    def platform(self) -> Platform:
        return ROCM if self.card.vendor == "amd" else CUDA

    @property
    def read(self) -> float:
        """Part of the bandwidth that is reached."""
        kind = "HBM" if not self.card.memory_kind.startswith("GDDR") else "GDDR ECC" if self.ecc else "GDDR"
        return self.platform.read.get(kind, self.platform.read["HBM"])

    @property
    def ecc(self) -> bool:
        return self.card.memory_kind.endswith("ECC")

    @property
    def multiply(self) -> float:
        """Part of the dense rate that is reached."""
        return self.platform.mixed if self.work.moe else self.platform.multiply

    @property
    def bandwidth(self) -> float:
        """Of the cards of one stage together, as kernels reach it."""
        return self.card.bandwidth * self.read * self.serving.tp

    @property
    def rate(self) -> float:
        return self.operand.rate * self.multiply * self.serving.tp

    @property
    def wide_rate(self) -> float:
        """Attention and the output matrix are multiplied in 16 bits, whatever the weights are."""
        return (self.card.bf16 or self.card.fp16) * self.platform.multiply * self.serving.tp

    def decode(self, batch: int, context: int, active: int, kv_token: float, *, checked: int) -> tuple[float, str]:
        """(seconds until every request has its next token, what limits it).

        With pipeline stages the batch goes through them in as many parts, so that every stage is busy; a part reads all
        weights. checked: tokens of each request in a step, more than one where drafts are verified.
        """
        part = -(-batch // self.serving.pp)
        # The state of a recurrent layer is written back, too; reading it is in kv_token.
        moved = active + part * (context * kv_token + self.work.state)
        tokens = part * checked
        multiplied = tokens * self.work.linear / self.rate
        multiplied += tokens * (self.work.head + self.work.scores(context)) / self.wide_rate
        read = moved / self.bandwidth
        latency = self.overhead(tokens) + part * self.platform.request
        return max(read, multiplied) + latency, "memory" if read >= multiplied else "compute"

    def overhead(self, tokens: int) -> float:
        """Seconds of a step that are neither reading nor multiplying, for `tokens` at once."""
        platform = self.platform
        eager = platform.eager if self.serving.enforce_eager else 1.0
        layers = (
            self.work.layers * platform.layer + self.work.moe * platform.expert + self.work.latent * platform.latent
        )
        return layers * eager + self.exchanged(tokens) + platform.step * self.serving.pp

    def exchanged(self, tokens: int) -> float:
        """Seconds of all-reduces, two a layer: a latency, and 2·(tp−1)/tp of the message over the link."""
        tp, pp = self.serving.tp, self.serving.pp
        link = max(self.card.link_bandwidth, 1) * LINK
        message = tokens * self.work.hidden * 2
        once = EXCHANGE[self.card.link] * math.log2(tp) + message * 2 * (tp - 1) / tp / link
        return 2 * self.work.layers * once + (pp - 1) * (message / link + EXCHANGE[self.card.link])

    def first_token(self, context: int, active: int) -> float:
        """Seconds until the first token of a prompt on an idle engine: its chunks, one after another."""
        chunk = max(min(context, self.serving.max_num_batched_tokens), 1)
        chunks = -(-context // chunk) if context else 1
        multiplied = context * self.work.linear / self.rate
        multiplied += (context * self.work.scores(context // 2) + self.work.head) / self.wide_rate
        read = chunks * active / self.bandwidth
        return max(read, multiplied) + chunks * self.overhead(chunk)

    def drafts(self, batch: int, active: int) -> tuple[float, float]:
        """(tokens a step yields, seconds spent on drafting them)."""
        draft = self.serving.draft
        if draft is None or draft.tokens < 1:
            return 1.0, 0.0
        layers = 1
        read = active / max(self.work.layers, 1)
        if draft.facts is not None:
            read = draft.facts.weights_bytes or read
            layers = len(draft.facts.architecture.layers) if draft.facts.architecture else 1
        elif draft.method in ("ngram", "suffix"):
            layers, read = 0, 0.0
        once = read / self.bandwidth + layers * self.platform.layer + self.exchanged(batch) * layers / self.work.layers
        return acceptance(draft.method, draft.tokens), draft.tokens * once

    def formula(self, batch: int, context: int, active: int, kv_token: float, *, step: float, accepted: float) -> str:
        tp, pp = self.serving.tp, self.serving.pp
        part = -(-batch // pp)
        text = (
            f"step {step * 1e3:.1f} ms = max(({active / 1e9:.2f} GB + {part}·{context}·{kv_token / 1e3:.1f} kB) / "
            f"({self.read}·{self.card.bandwidth / 1e9:.0f} GB/s·{tp}), "
            f"{part}·{self.work.linear / 1e9:.1f} GFLOP / "
            f"({self.multiply}·{self.operand.rate / 1e12:.0f} T{self.operand.name}·{tp})) + "
            f"{(self.overhead(part) + part * self.platform.request) * 1e3:.1f} ms for {self.work.layers} layers"
        )
        return text + (f"; {accepted:.2f} tokens a step (assumed)" if accepted != 1.0 else "")


def _band(model: _Model, serving: Serving) -> float:
    """Wider where less is measured: drafts, more than one stage or card, recurrent layers, unknown families."""
    band = model.platform.band
    architecture = model.facts.architecture
    widened = (
        (serving.draft is not None, 0.3),
        (serving.tp > 1, 0.1),
        (serving.pp > 1, 0.1),
        (model.work.state > 0 or model.work.moe > 0, 0.1),
        (architecture is not None and not architecture.known, 0.2),
        (serving.version[:2] > _KNOWN, 0.1),
    )
    return min(band + sum(more for applies, more in widened if applies), 0.9)


def _method(facts: ModelFacts, serving: Serving) -> str | None:
    return serving.quantization or facts.quantization


def _detail(facts: ModelFacts) -> dict[str, object]:
    return facts.quantization_detail
