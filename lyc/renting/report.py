"""What was spent, beside what was served for it: lines with tokens, €/Mtoken measured and foretold, idle time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from lyc.records.money import Rates
from lyc.records.rental import Rental
from lyc.records.traffic import Served, Span, Traffic
from lyc.renting.ledger import Grouping, InOne, Line, day_span, host_of, in_one, lines, totals, touches
from lyc.renting.saved import Saved, saved
from lyc.renting.transitions import OPEN

_MILLION = Decimal(10**6)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the ledger, told in full.

    cost: in the one currency of the report. served: what passed through the gateway for it, None where that cannot be
    told apart (by host) or is not known any more. per_million: of answer tokens, over the time for which they are
    known. foretold: by the plans with which its machines were rented; None where one had none. idle: part of the time
    in which a machine stood and nothing was asked of it. Prices are in the currency of the report.
    """

    line: Line
    cost: InOne
    served: Served | None = None
    per_million: Decimal | None = None
    foretold: Decimal | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """rows, and their sum. since: None = from the first rental on. per_hour: of what stands now, by currency.
    served_since: from when on tokens and idle time are known, where that is later than the first rental shown.
    further: machines that were made twice by one order; what those cost is in no figure. saved: by giving machines back
    while nobody needed them.
    """

    rows: tuple[Row, ...]
    total: Row
    by: Grouping
    currency: str
    since: float | None
    until: float
    per_hour: Mapping[str, Decimal]
    served_since: float | None = None
    further: int = 0
    saved: Saved = field(default_factory=Saved)


def report(
    rentals: Sequence[Rental],
    traffic: Traffic,
    now: float,
    *,
    by: Grouping = Grouping.DEPLOYMENT,
    since: float | None = None,
    rates: Rates | None = None,
    currency: str | None = None,
    alive: Collection[str] = (),
) -> Report:
    """What `rentals` cost from `since` until now. traffic: of that span at least, of all deployments. alive: those that
    are there now.

    currency: of all that is told as one; None = the only one that is billed, else EUR. Tokens count where they were
    served by a deployment that had rented machines in the span; whether one request went to a machine of the user's
    own beside them is not told apart.
    """
    found = [one for one in rentals if touches(one, now, since)]
    told_in = currency or _only(one.offer.currency for one in found) or "EUR"
    begun = min((one.billed_from for one in found if one.billed_from is not None), default=now)
    known_from = _later(since, traffic.reaches)
    teller = _Teller(found, traffic, now, known_from, told_in, rates)
    rows = tuple(teller.row(line, *teller.part(line, by, since)) for line in lines(found, now, by=by, since=since))
    seconds = sum(row.line.seconds for row in rows)
    whole = Line("total", seconds, totals(found, now, since=since), len(found))
    reaches = traffic.reaches
    return Report(
        rows,
        teller.row(whole, found, since, now, served=True),
        by,
        told_in,
        since,
        now,
        _per_hour(found),
        reaches if reaches is not None and reaches > max(begun, since or 0.0) else None,
        sum(len(one.extra) for one in found),
        saved(rentals, alive, now, since=since),
    )


@dataclass(frozen=True, slots=True)
class _Teller:
    rentals: Sequence[Rental]
    traffic: Traffic
    now: float
    known_from: float | None
    currency: str
    rates: Rates | None

    def part(self, line: Line, by: Grouping, since: float | None) -> tuple[Sequence[Rental], float | None, float, bool]:
        """(rentals, since, until, whether what was served is told) of a line."""
        match by:
            case Grouping.DAY:
                begin, end = day_span(line.key)
                return self.rentals, _later(since, begin), min(end, self.now), True
            case Grouping.HOST:
                return [one for one in self.rentals if host_of(one) == line.key], since, self.now, False
        return [one for one in self.rentals if one.deployment == line.key], since, self.now, True

    def row(self, line: Line, rentals: Sequence[Rental], since: float | None, until: float, served: bool) -> Row:
        cost = in_one(line.totals, self.currency, self.rates)
        row = Row(line, cost, foretold=self._foretold(rentals, since, until))
        known_from = _later(since, self.known_from)
        if not served or (known_from is not None and known_from >= until):
            return row
        names = {one.deployment for one in rentals}
        tokens = self._served(names, known_from, until)
        paid = in_one(totals(rentals, self.now, since=known_from, until=until), self.currency, self.rates)
        measured = None
        if tokens.completion_tokens and not paid.without:
            measured = paid.amount / tokens.completion_tokens * _MILLION
        return Row(line, cost, tokens, measured, row.foretold, self._idle(rentals, known_from, until))

    def _served(self, names: set[str], since: float | None, until: float) -> Served:
        """By whole days: a span that is no whole day is the first or the last of the report, which the traffic ends."""
        found = Served()
        for (name, day), one in self.traffic.served.items():
            begin, end = day_span(day)
            if name in names and begin < until and (since is None or end > since):
                found += one
        return found

    def _foretold(self, rentals: Sequence[Rental], since: float | None, until: float) -> Decimal | None:
        """What was spent over the tokens that this would have brought by the plans."""
        spent = tokens = Decimal(0)
        for one in rentals:
            cost = in_one(totals([one], self.now, since=since, until=until), self.currency, self.rates)
            if not cost.amount and not cost.without:
                continue
            price = None if one.per_million is None else {one.offer.currency: one.per_million}
            each = None if price is None else in_one(price, self.currency, self.rates)
            if each is None or each.without or cost.without or not each.amount:
                return None
            spent, tokens = spent + cost.amount, tokens + cost.amount / each.amount
        return spent / tokens if tokens else None

    def _idle(self, rentals: Sequence[Rental], since: float | None, until: float) -> float | None:
        """Each deployment's machines count as one: it is idle when none of its requests runs."""
        stood = idle = 0.0
        for name in {one.deployment for one in rentals}:
            spans = _stood([one for one in rentals if one.deployment == name], since, until)
            seconds = sum(end - begin for begin, end in spans)
            stood, idle = stood + seconds, idle + seconds - _shared(spans, self.traffic.busy.get(name, ()))
        return idle / stood if stood > 0 else None


def _stood(rentals: Iterable[Rental], since: float | None, until: float) -> list[Span]:
    """When at least one of the machines stood, in spans that do not overlap."""
    found: list[Span] = []
    for one in sorted(rentals, key=lambda rental: rental.billed_from or 0.0):
        if one.billed_from is None:
            continue
        begin = one.billed_from if since is None else max(one.billed_from, since)
        end = until if one.billed_until is None else min(one.billed_until, until)
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > begin:
            found.append((begin, end))
    return found


def _shared(some: Sequence[Span], others: Sequence[Span]) -> float:
    """Seconds that are in both; each in its order, without overlap."""
    seconds, at = 0.0, 0
    for begin, end in some:
        while at < len(others) and others[at][1] <= begin:
            at += 1
        for other_begin, other_end in others[at:]:
            if other_begin >= end:
                break
            seconds += max(min(end, other_end) - max(begin, other_begin), 0.0)
    return seconds


def _per_hour(rentals: Iterable[Rental]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for one in rentals:
        if one.state in OPEN and one.billed_from is not None and one.billed_until is None:
            found[one.offer.currency] = found.get(one.offer.currency, Decimal(0)) + one.offer.per_hour
    return dict(sorted(found.items()))


def _later(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)


def _only(currencies: Iterable[str]) -> str | None:
    found = set(currencies)
    return found.pop() if len(found) == 1 else None
