"""A deployment on cards of one host that are named: by the user, or by lyc among those that nobody else holds.

Each engine gets a set of cards of its own. Where something else holds memory of them, the engine gets the part that is
left, if the model fits into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lyc.errors import NoFit, SpecError
from lyc.planning import defaults
from lyc.planning.budget import WARM_UP_ROOM, requested
from lyc.planning.host.cards import Cards
from lyc.planning.host.on_gpu import OnGpu, as_card, asked_of, no_fit
from lyc.planning.parallelism import whole_experts
from lyc.planning.survey import smallest
from lyc.records.card import Card
from lyc.records.deployment import DeploymentSpec
from lyc.records.model import ModelFacts
from lyc.records.plan import Accelerator, EngineBuild
from lyc.records.serving import Serving
from lyc.records.wish import Wish
from lyc.units import show_bytes


def on_devices(
    spec: DeploymentSpec,
    facts: ModelFacts,
    cards: Cards,
    card: Accelerator,
    *,
    draft: ModelFacts | None,
    build: EngineBuild,
) -> OnGpu:
    """Which cards `spec` gets: its own `gpus`, else of the cards like `card` the fewest and the emptiest that nobody
    else holds.

    Raises NoFit: `gpu-busy` with who holds what where the model would fit on empty cards, else why it does not, with
    the nearest that would; `no-such-gpu`; SpecError `gpus-do-not-split`, `mixed-gpus`.
    """
    named = cards.named(spec.gpus, spec.gpu) if spec.gpus is not None else None
    alike = [index for index, one in enumerate(cards.host.accelerators) if one.name == card.name]
    wish = asked_of(spec, draft, build, as_card(card, len(named or alike)))
    count = _count(wish, named)
    question = _Question(facts, replace(wish, count=count), cards)
    for chosen in [named] if named is not None else cards.sets(card.name, count):
        if (found := question.answer(chosen)) is not None:
            return found
    if facts.architecture is not None:
        last = smallest(facts, question.wish, question.card)[-1]  # as though the cards were empty
        if not last.fits:
            raise no_fit(facts, wish, last)
        count = last.count
    raise _busy(spec, question, named or alike, count or 1)


@dataclass(frozen=True, slots=True)
class _Question:
    """Does the model go onto these cards, as much as is free of them?"""

    facts: ModelFacts
    wish: Wish
    cards: Cards

    @property
    def card(self) -> Card:
        return self.wish.cards[0]

    def answer(self, chosen: tuple[int, ...]) -> OnGpu | None:
        """How, or None where it does not."""
        wish = replace(self.wish, count=len(chosen))
        serving = self.serving(len(chosen))
        fixed = wish.kv_cache_bytes is not None  # then vLLM neither measures nor asks what is free
        lowered = None
        if not fixed and self.cards.may_use(chosen, self.card, serving) < serving.utilization:
            lowered = self.cards.may_use(chosen, self.card, serving, spare=WARM_UP_ROOM)
            if wish.utilization is not None or not lowered:
                return None
        serving = replace(serving, utilization=lowered or serving.utilization)
        takes, told = requested(self.card.cuda_total, serving), self._told(chosen, lowered)
        if self.facts.architecture is None:
            return OnGpu(len(chosen), serving.pp, takes, None, False, chosen, lowered, told)
        one = smallest(self.facts, replace(wish, utilization=lowered or wish.utilization), self.card)[-1]
        takes = sum(term.size for term in one.terms) if fixed else takes
        if not one.fits or (fixed and min(self.cards.free(index) for index in chosen) < takes):
            return None
        whole = whole_experts(self.facts.architecture, self.facts.quantization_detail, one.serving.tp)
        return OnGpu(len(chosen), one.serving.pp, takes, one, whole, chosen, lowered, told)

    def serving(self, count: int) -> Serving:
        """vLLM's options over so many cards."""
        tp, pp = self.wish.tp or count // (self.wish.pp or 1), self.wish.pp or 1
        return defaults.serving(self.facts, self.card, self.wish, tp=tp, pp=pp)

    def roomiest(self, pool: Iterable[int]) -> tuple[int, Fraction] | None:
        """The one card of which most is left, and how much an engine would get, if the model goes into that."""
        alone = self.wish.count in (None, 1)
        found = [(index, one) for index in pool if alone and (one := self.answer((index,))) is not None]
        parts = [(index, one.utilization or self.serving(1).utilization) for index, one in found]
        return max(parts, key=lambda pair: pair[1], default=None)

    def _told(self, chosen: Sequence[int], lowered: Fraction | None) -> tuple[str, ...]:
        if lowered is None:
            return ()
        names = dict.fromkeys(name for index in chosen for name in self.cards.holders.get(index, ()))
        which = f"card {chosen[0]}" if len(chosen) == 1 else f"cards {','.join(map(str, chosen))}"
        beside = f", beside {', '.join(names)}" if names else ""
        free = show_bytes(min(self.cards.free(index) for index in chosen))
        return (
            f"{free} of {which} of {self.cards.host.name} are free: the engine gets {float(lowered):.0%} of it{beside}",
        )


def _count(wish: Wish, named: tuple[int, ...] | None) -> int | None:
    """Cards in all; None = as many as it takes. Raises SpecError where the named ones cannot be split as asked."""
    tp, pp = wish.tp, wish.pp
    asked = (tp or 1) * (pp or 1) if tp or pp else None
    if named is None:
        return asked
    count = len(named)
    if asked is None or asked == count or (pp and not tp and count % pp == 0):
        return count
    word = "tensor-parallel-size" if tp else "pipeline-parallel-size"
    raise SpecError(
        "gpus-do-not-split",
        f"--gpus names {count} card{'s' * (count != 1)}, and the engine is to go over {asked}",
        why=", ".join(f"{name} {size}" for name, size in (("tensor parallel", tp), ("pipeline stages", pp)) if size),
        where="--gpus",
        hint=f"name {asked} cards, or leave --engine-arg {word} out",
    )


def _busy(spec: DeploymentSpec, question: _Question, pool: Sequence[int], count: int) -> NoFit:
    cards, card, serving = question.cards, question.card, question.serving(count)
    names = dict.fromkeys(name for index in pool for name in cards.holders.get(index, ()))
    where = cards.host.name
    hints = [f"see what runs there: {'nvidia-smi' if spec.host == 'local' else f'lyc hosts ssh {where} -- nvidia-smi'}"]
    hints += [f"stop what is in the way: lyc down {next(iter(names))}"] if names else []
    part = cards.may_use(pool, card, serving, spare=WARM_UP_ROOM) if spec.gpus is not None else Fraction(0)
    if spec.gpus is None and (roomy := question.roomiest(pool)):
        hints.insert(0, f"share a card: --gpus {roomy[0]} (the engine gets {float(roomy[1]):.0%} of it)")
    elif question.wish.utilization is not None and part:
        hints.insert(0, f"give the engine less: --engine-arg gpu-memory-utilization={float(part):.2f}")
    takes = show_bytes(requested(card.cuda_total, serving))
    needed = f"{count} × {card.product} with {takes} free ({float(serving.utilization):.0%} of each)"
    why = f"{needed} {'is' if count == 1 else 'are'} needed"
    if spec.gpus is not None and question.wish.utilization is None:
        why = f"the model does not fit into what is left of {'it' if len(pool) == 1 else 'them'}"
    return NoFit(
        "gpu-busy",
        f"the cards of {where} are " + (f"held by {', '.join(names)}" if names else "taken by other work"),
        why=why,
        where="--gpus" if spec.gpus is not None else "--gpu",
        hint="\n".join(hints),
        detail=cards.told(pool),
    )
