"""How fast a plan will be: a roofline, with what vLLM adds to it. An estimate with a wide band, never a promise.

One step of decoding reads the weights that its tokens touch and every token's KV cache, multiplies, and pays a latency
for each layer and each exchange between cards:

    step = max(bytes / bandwidth, operations / rate) + layers · latency + exchanges + fixed

The constants below are fitted to public benchmarks (`tests/planning/test_performance.py` prints how well), not to
single rows; they are of vLLM 0.6 to 0.23 with CUDA graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lyc.planning.precision import Operand, operand
from lyc.planning.work import Work, work
from lyc.records.card import Card
from lyc.records.fit import Speed
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving

SOURCE = "roofline of lyc.planning.performance; constants fitted to public benchmarks of vLLM 0.6 to 0.23"
LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Platform:
    """What a vendor's kernels reach. read: part of the bandwidth; multiply: part of the dense rate in a long prompt.

    layer, expert: seconds of launches and tails that a layer costs, and that its experts add. eager: the factor without
    CUDA graphs. fixed: seconds a step for scheduling and sampling.
    """

    read: float
    multiply: float
    layer: float
    expert: float
    eager: float
    fixed: float
    band: float


CUDA = Platform(read=0.85, multiply=0.5, layer=60e-6, expert=40e-6, eager=4.0, fixed=0.3e-3, band=0.3)
ROCM = Platform(read=0.7, multiply=0.35, layer=200e-6, expert=100e-6, eager=2.0, fixed=0.5e-3, band=0.6)
EXCHANGE = {"nvlink": 40e-6, "xgmi": 50e-6, "pcie": 50e-6}
"""Seconds of one all-reduce of nearly nothing, with the wait for the slowest card. A layer has two."""
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
) -> Speed:
    """At `concurrency` requests of `context` tokens.

    active_bytes: of weights that one step of so many requests reads, over all GPUs. kv_token_bytes: of KV cache (and
    recurrent state) a token of such a request holds on the mean, over all GPUs. per_token: `work(facts.architecture)`,
    for those who ask often; `facts.architecture` must not be None then nor without.
    """
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


def loads(most: int) -> tuple[int, ...]:
    """The numbers of requests at which a table tells the speed: powers of two up to `most`, and `most` itself."""
    return tuple(sorted({load for load in LOADS if load <= most} | {max(most, 1)}))


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
    def bandwidth(self) -> float:
        """Of the cards of one stage together, as kernels reach it."""
        return self.card.bandwidth * self.platform.read * self.serving.tp

    @property
    def rate(self) -> float:
        return self.operand.rate * self.platform.multiply * self.serving.tp

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
        return max(read, multiplied) + self.overhead(tokens), "memory" if read >= multiplied else "compute"

    def overhead(self, tokens: int) -> float:
        """Seconds of a step that are neither reading nor multiplying, for `tokens` at once."""
        platform = self.platform
        eager = platform.eager if self.serving.enforce_eager else 1.0
        launched = (self.work.layers * platform.layer + self.work.moe * platform.expert) * eager
        return launched + self.exchanged(tokens) + platform.fixed * self.serving.pp

    def exchanged(self, tokens: int) -> float:
        """Seconds of all-reduces in all layers: a latency, and 2·(tp−1)/tp of the message over the link."""
        tp, pp = self.serving.tp, self.serving.pp
        link = max(self.card.link_bandwidth, 1) * LINK
        message = tokens * self.work.hidden * 2
        once = EXCHANGE[self.card.link] + message * 2 * (tp - 1) / tp / link if tp > 1 else 0.0
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
            f"({self.platform.read}·{self.card.bandwidth / 1e9:.0f} GB/s·{tp}), "
            f"{part}·{self.work.linear / 1e9:.1f} GFLOP / "
            f"({self.platform.multiply}·{self.operand.rate / 1e12:.0f} T{self.operand.name}·{tp})) + "
            f"{self.overhead(part) * 1e3:.1f} ms for {self.work.layers} layers"
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


def without_draft(serving: Serving) -> Serving:
    """The same start without speculative decoding, to compare with."""
    return replace(serving, draft=None)
