"""The cards of one host as a plan may use them: by their index, with what others hold of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lyc.errors import NoFit, SpecError
from lyc.planning.catalogue.cards import canonical
from lyc.planning.non_torch import before_start
from lyc.planning.survey import COUNTS
from lyc.records.card import Card
from lyc.records.plan import Accelerator, HostFacts, Plan
from lyc.records.serving import Serving
from lyc.units import show_bytes

ALL_OF_IT = 1 << 50
"""Bytes that a replica is taken to hold of a card when its plan could not foretell any."""
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Cards:
    """A host's cards. Indices are those of nvidia-smi. taken: bytes that other deployments' replicas hold of each, or
    will as soon as they have started; own: those of the deployment to be planned, which it gives back. holders: names
    of the deployments behind `taken`.
    """

    host: HostFacts
    taken: Mapping[int, int] = field(default_factory=dict)
    own: Mapping[int, int] = field(default_factory=dict)
    holders: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Accelerator:
        return self.host.accelerators[index]

    def free(self, index: int) -> int:
        """Bytes that will be free once the deployment's own replicas are gone. What nvidia-smi says may be of a moment
        before others have allocated what they will.
        """
        card = self[index]
        if not card.memory_total:  # some cards of unified memory do not tell
            return 0 if self.taken.get(index) else ALL_OF_IT
        return max(min(card.memory_free + self.own.get(index, 0), card.memory_total - self.taken.get(index, 0)), 0)

    def named(self, indices: Sequence[int], gpu: str) -> tuple[int, ...]:
        """The set that a person named, checked. Raises NoFit `no-such-gpu`, SpecError `mixed-gpus`."""
        count = len(self.host.accelerators)
        if absent := [index for index in indices if index >= count]:
            has = f"it has {count}: 0 to {count - 1}" if count > 1 else f"it has {('none', 'one: 0')[count]}"
            raise NoFit(
                "no-such-gpu",
                f"{self.host.name} has no card {absent[0]}",
                why=has,
                where="--gpus",
                hint="--gpus takes the numbers that nvidia-smi shows"
                if count
                else "leave --gpus out, or name another --host",
            )
        kinds = dict.fromkeys(self[index].name for index in indices)
        if len(kinds) > 1:
            told = ", ".join(f"{index} is {self[index].product or self[index].name}" for index in indices)
            raise SpecError(
                "mixed-gpus",
                "an engine cannot go over cards of different kinds",
                why=told,
                where="--gpus",
                hint="name cards of one kind",
            )
        if gpu != AUTO and next(iter(kinds)) not in (gpu, canonical(gpu)):
            raise NoFit(
                "no-such-gpu",
                f"card {indices[0]} of {self.host.name} is no {gpu}",
                why=f"it is {self[indices[0]].product or next(iter(kinds))}",
                where="--gpus",
                hint="leave --gpu out where --gpus names the cards",
            )
        return tuple(sorted(indices))

    def sets(self, name: str, count: int | None) -> Iterator[tuple[int, ...]]:
        """Sets of cards `name` that no other deployment holds, the fewest first, of as many the emptiest; those that
        the deployment's own replicas do not hold come before those that they do.

        count: so many and no others.
        """
        mine = [index for index, card in enumerate(self.host.accelerators) if card.name == name]
        unheld = [index for index in mine if not self.taken.get(index)]
        seen: set[tuple[int, ...]] = set()
        for pool in ([index for index in unheld if not self.own.get(index)], unheld):
            emptiest = sorted(pool, key=lambda index: (-self.free(index), index))
            for size in (count,) if count else [size for size in COUNTS if size <= len(emptiest)]:
                chosen = tuple(sorted(emptiest[:size]))
                if len(chosen) == size and chosen not in seen:
                    seen.add(chosen)
                    yield chosen

    def may_use(self, indices: Sequence[int], card: Card, serving: Serving, *, spare: int = 0) -> Fraction:
        """Part of each card, in hundredths, that an engine over these may be given so that it finds it free when it
        starts, with `spare` bytes left over; 0 where nothing is left.
        """
        if not card.cuda_total:
            return Fraction(0)
        least = min(min(self.free(index), card.cuda_total) for index in indices)
        part = math.floor(100 * (least - before_start(serving, card) - spare) / card.cuda_total)
        return Fraction(max(min(part, 99), 0), 100)

    def told(self, indices: Iterable[int]) -> tuple[str, ...]:
        """What is free of each card and who holds the rest, a line each."""
        return tuple(self._told(index) for index in indices)

    def _told(self, index: int) -> str:
        card, names = self[index], self.holders.get(index, ())
        rest = f", held by {', '.join(names)}" if names else ""
        total = show_bytes(card.memory_total)
        return f"card {index} ({card.product or card.name}): {show_bytes(self.free(index))} of {total} free{rest}"


def held(running: Iterable[tuple[str, Plan]]) -> tuple[dict[int, int], dict[int, tuple[str, ...]]]:
    """(bytes, names of deployments) by card, of replicas on one host: each as its deployment's name and its plan.

    A plan that leaves the cards to the engine has the first ones, which is what vLLM takes.
    """
    taken: dict[int, int] = {}
    names: dict[int, tuple[str, ...]] = {}
    for name, plan in running:
        if plan.engine.on_cpu:
            continue
        for index in plan.devices if plan.devices is not None else range(plan.accelerator_count):
            taken[index] = taken.get(index, 0) + (plan.memory_bytes or ALL_OF_IT)
            names[index] = tuple(dict.fromkeys((*names.get(index, ()), name)))
    return taken, names


def place(plan: Plan, host: HostFacts, *, taken: Mapping[int, int]) -> tuple[int, ...] | None:
    """Cards for one more replica of a release whose plan is made: as many alike, unheld and with room; None = none.

    taken: bytes that all replicas on the host hold, this release's too.
    """
    cards = Cards(host, taken)
    for chosen in cards.sets(plan.accelerator, plan.accelerator_count):
        if all(cards.free(index) >= (plan.memory_bytes or 1) for index in chosen):
            return chosen
    return None
