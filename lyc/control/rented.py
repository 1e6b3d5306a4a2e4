"""Where a deployment goes that names no machine: onto one that it has rented already, else onto the best offer.

An offer that turns out not to do (sold out, never up, no driver) gives way to the next; what was rented of it goes
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lyc.control.deps import Deps
from lyc.control.market import Listing
from lyc.control.operations import Talk
from lyc.control.placing import Found, Placed, Placing, place
from lyc.control.renting import TRIES, Cancelled, Renter
from lyc.engines import architectures, options, versions
from lyc.errors import LycError, NoFit, NotAuthorised, Unreachable
from lyc.planning.catalogue.cards import find
from lyc.planning.host.engine_args import asked
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import ANY
from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
from lyc.records.rental import Offer, Rental
from lyc.records.wish import Wish
from lyc.renting.choice import Candidate, Choice

_ABORT = frozenset({"taken-down"})
_NEXT = frozenset({
    "offer-gone", "machine-failed", "machine-gone", "never-reachable", "host-unfit", "provider-refused",
    "provider-odd-answer",
})  # fmt: skip
"""Errors after which another offer may do; besides what nobody has, and what does not answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be placed. preferred: (provider, offer id) that a person chose; only that one is tried then. taken:
    hosts that will not do, for they have another use. until: when it shall go whatever happens, in seconds since the
    epoch; None = as the spec says, from now on. dry: nothing is done to any machine.
    """

    spec: DeploymentSpec
    model: Found
    draft: Found | None
    freed: int
    preferred: tuple[str, str] | None = None
    taken: frozenset[str] = frozenset()
    until: float | None = None
    dry: bool = False


class RentedPlacing:
    """Of one deployment. cancelled: raises when it is no longer wanted."""

    def __init__(self, deps: Deps, renter: Renter, question: Question, talk: Talk, cancelled: Cancelled) -> None:
        self._deps = deps
        self._renter = renter
        self._question = question
        self._talk = talk
        self._cancelled = cancelled

    def place(self) -> Placed:
        """Raises NoFit `no-capacity`, `no-offer`, `no-provider`, with the reason of everything that was tried."""
        spec, renter = self._question.spec, self._renter
        self._check()
        for rental in reversed(renter.open_rentals(spec)):
            if rental.host is not None and rental.host in self._question.taken:
                continue
            placed = self._again(rental)
            if placed is not None:
                return placed
        if spec.rent.own and (placed := self._owned()) is not None:
            return placed
        choice, listing = renter.choice(spec, self._question.model.facts, wish_of(spec))
        for name, problem in listing.problems.items():
            self._talk.warn(f"{name} is left out: {problem.get('what')}")
        tried: list[tuple[Offer, LycError]] = []
        for candidate in _ordered(choice.candidates, self._question.preferred)[:TRIES]:
            if not _hopeless(candidate.offer, tried):
                done = self._try(candidate)
                if isinstance(done, Placed):
                    return done
                tried.append((candidate.offer, done))
                self._talk.warn(f"{words(candidate.offer)}: {done}")
        raise nothing(choice, listing, tried)

    def foretold(self) -> Placed | Rental | Candidate:
        """What `place` would try first, with nothing rented: a machine that is there, one that is rented and comes up
        yet, or an offer. Raises as `place` does.
        """
        spec, renter = self._question.spec, self._renter
        self._check()
        for rental in reversed(renter.open_rentals(spec)):
            if rental.host is None:
                return rental
            if rental.host not in self._question.taken:
                try:
                    return self._placing(rental.host).place(self._question.model, self._question.draft)
                except LycError as error:
                    if not _another(error):
                        raise
                    self._talk.warn(f"{words(rental.offer)}, rented already: {error}")
        if spec.rent.own and (placed := self._owned()) is not None:
            return placed
        choice, listing = renter.choice(spec, self._question.model.facts, wish_of(spec))
        candidates = _ordered(choice.candidates, self._question.preferred)
        if not candidates:
            raise nothing(choice, listing, [])
        return candidates[0]

    def _check(self) -> None:
        """What no machine would mend is said before one is paid for. Raises SpecError and UsageError."""
        spec, build = self._question.spec, versions.pinned(on_cpu=self._question.spec.gpu == "cpu")
        architectures.check(self._question.model.facts, build)
        options.check(spec.engine_args, build)
        options.check_env(spec.env)

    def _owned(self) -> Placed | None:
        """On a machine of the user's own, which costs nothing more."""
        question = self._question
        if not any(known.host.own for known in self._deps.store.hosts()):
            return None
        try:
            spec = replace(question.spec, host=ANY)
            return place(
                self._deps, spec, question.model, question.draft, freed=question.freed, say=self._talk.warn, own=True,
                dry=question.dry,
            )  # fmt: skip
        except NoFit as error:
            self._talk.warn(f"no machine of your own will do: {'; '.join(error.detail) or error}")
            return None

    def _try(self, candidate: Candidate) -> Placed | LycError:
        """Take an offer; or the error after which another may do, with nothing of it left behind."""
        question, rental = self._question, None
        self._say(f"renting {words(candidate.offer)}")
        weights = sum(one.listing.size for one in (question.model, question.draft) if one)
        try:
            rental = self._renter.take(question.spec, candidate, weights, self._cancelled, until=question.until)
            return self._on(rental)
        except LycError as error:
            if rental is not None:
                self._renter.release(rental, error.ref, error)
            if not _another(error):
                raise
            return error
        except BaseException:
            if rental is not None:
                self._renter.release(rental, "interrupted")
            raise

    def _again(self, rental: Rental) -> Placed | None:
        """On a machine that was rented before, if it still does. One that serves the present release stays as it is."""
        try:
            return self._on(rental)
        except LycError as error:
            if not _another(error):
                raise
            self._talk.warn(f"{words(rental.offer)}, rented already: {error}")
            return None

    def _on(self, rental: Rental) -> Placed:
        question = self._question
        host = self._renter.bring_up(rental, question.spec, self._talk, self._cancelled)
        return self._placing(host.name).place(question.model, question.draft)

    def _placing(self, host: str) -> Placing:
        question, spec = self._question, replace(self._question.spec, host=host)
        return Placing(self._deps, spec, freed=question.freed, say=self._talk.warn, dry=question.dry)

    def _say(self, message: str) -> None:
        self._talk.phase(PhaseEvent(Phase.RENT, PhaseStatus.PROGRESS, message))


def wish_of(spec: DeploymentSpec) -> Wish:
    """What the planner is asked for each offer."""
    wish = asked(spec, versions.pinned(on_cpu=spec.gpu == "cpu"))
    cards = () if spec.gpu in ("auto", "cpu") else (find(spec.gpu),)
    return replace(wish, cards=cards, on_cpu=spec.gpu == "cpu")


def words(offer: Offer) -> str:
    """An offer in a line: `2 × h100 at lyceum, FI, 5.58 USD/h`."""
    cards = f"{offer.count} × {offer.card or offer.product}" if offer.count > 1 else offer.card or offer.product
    place = ", ".join(part for part in (offer.region, offer.country) if part)
    spot = " spot" if offer.spot else ""
    return f"{cards}{spot} at {offer.provider}{f', {place}' if place else ''}, {offer.per_hour:.2f} {offer.currency}/h"


def _ordered(candidates: Sequence[Candidate], preferred: tuple[str, str] | None) -> list[Candidate]:
    if preferred is None:
        return list(candidates)
    return [one for one in candidates if (one.offer.provider, one.offer.id) == preferred]


def _hopeless(offer: Offer, tried: Sequence[tuple[Offer, LycError]]) -> bool:
    """Whether what was tried says that this one will not do either: the same account, or more cards of the same kind on
    machines whose driver or system does not fit.
    """
    return any(
        offer.provider == other.provider
        and (isinstance(error, NotAuthorised) or (error.ref == "host-unfit" and offer.card == other.card))
        for other, error in tried
    )


def _another(error: LycError) -> bool:
    if error.ref in _ABORT:
        return False
    return isinstance(error, NoFit | NotAuthorised | Unreachable) or error.ref in _NEXT


def nothing(choice: Choice, listing: Listing, tried: list[tuple[Offer, LycError]]) -> NoFit:
    """The error of a deploy for which no machine was to be had, with every reason once."""
    detail = [f"{_short(offer)}: {error}" for offer, error in tried]
    detail += [
        f"{count} offer{'s' if count > 1 else ''}: {_example(choice, ref)}" for ref, count in choice.reasons().items()
    ]
    detail += [
        f"{name}: {error.get('what')} {error.get('why') or ''}".strip() for name, error in listing.problems.items()
    ]
    if not listing.asked:
        return NoFit(
            "no-provider",
            "no provider of machines is configured, and no host was named",
            hint="lyc providers login lyceum, or use a machine of your own: --host ssh://user@box",
        )
    return NoFit(
        "no-capacity" if tried or choice.candidates else "no-offer",
        "nobody has a machine now that will do" if choice.candidates or tried else "nothing on offer will do",
        why=f"asked {', '.join(listing.asked)}",
        hint="lyc gpus --available shows what there is",
        detail=tuple(detail),
    )


def _short(offer: Offer) -> str:
    card = offer.card or offer.product
    cards = f"{offer.count}×{card}" if offer.count > 1 else card
    return " ".join(part for part in (offer.provider, cards, offer.region) if part)


def _example(choice: Choice, ref: str) -> str:
    return next(one.reason.text for one in choice.rejected if one.reason.ref == ref)
