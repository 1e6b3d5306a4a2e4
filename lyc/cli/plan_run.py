"""One question to the planner, answered: find the model, survey the cards, show it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lyc.cli.plan_next import Typed, deploy_command, held_at_once, plan_command
from lyc.cli.plan_words import cards, money, sibling_words, tokens
from lyc.errors import NoFit
from lyc.records.fit import Survey

if TYPE_CHECKING:
    from lyc.cli.plan_model import Planned
    from lyc.cli.plan_prices import Market
    from lyc.cli.plan_wish import Words
    from lyc.cli.session import Session
    from lyc.inspection import Read
    from lyc.records.deployment import DeploymentSpec
    from lyc.records.fit import Cost, Fit, Speed
    from lyc.records.model import Listing, ModelRef
    from lyc.records.wish import Wish

_UNKNOWN = "unknown: "
"""Begin of the notes that repeat what is unknown of the model; it is told with the model."""
_LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Requests at once for which `-v` tells the speed, as far as they have room."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was typed. spec: of lyc.toml and the flags over it. written: the model as typed, None with `-f` alone."""

    words: Words
    spec: DeploymentSpec
    written: str | None = None
    file: Path | None = None
    adapter: str | None = None
    prices: tuple[str, ...] = ()
    price_file: Path | None = None
    residency: str | None = None
    everything: bool = False
    verbose: bool = False

    @property
    def typed(self) -> Typed:
        return Typed(self.written, self.file, self.words.engine)


def answer(session: Session, question: Question) -> None:
    """Print it. Raises what is wrong with the words or the model; NoFit `nothing-fits` (exit 5) after the answer."""
    from lyc.cli.plan_document import survey_document
    from lyc.cli.plan_view import drawable, survey_text
    from lyc.cli.plan_wish import wish_of
    from lyc.engines.versions import VLLM_VERSION
    from lyc.spec.engine_words import check_length

    wish, names = wish_of(question.words, question.spec, file=question.file, pinned=VLLM_VERSION)
    market = _market(session, _on_cards(wish, names), question)
    planned, wish = _found(session, question, market.wish)
    check_length(wish, planned.longest)
    found = _survey(session, question, planned, wish, market)
    smaller = None if market.empty else _sibling(planned, wish)
    notes = (
        *(note for note in found.notes if not note.startswith(_UNKNOWN)),
        *_notes(question),
        *(sibling_words(smaller) if smaller and _saves(smaller, found.chosen) else ()),
    )
    output = session.output
    if output.as_json:
        output.document(survey_document(planned, found, notes, smaller))
        if found.chosen is None:
            raise typer.Exit(NoFit.exit_code)
        return
    text = survey_text(output, planned, found, notes, everything=question.everything)
    looked_at = found.chosen or next((fit for fit in found.rejected if fit.terms), None)
    if question.verbose and looked_at is not None:
        text += "\n\n" + _details(session, question, planned, wish, looked_at)
    output.answer({}, drawable(output, text))
    if output.live:
        output.say("")
    if found.chosen is None:
        raise _nothing_fits(question, wish, found)
    output.hint(deploy_command(question.typed, found.chosen, planned, wish))


def _on_cards(wish: Wish, names: Sequence[str]) -> Wish:
    """Raises UsageError `unknown-gpu`."""
    if wish.on_cpu:
        return wish
    from lyc.planning.catalogue.cards import find

    return replace(wish, cards=tuple({(card := find(name)).name: card for name in names}.values()))


def _market(session: Session, wish: Wish, question: Question) -> Market:
    """Raises UsageError for what is wrong with the prices."""
    from lyc.cli.plan_prices import Market, market
    from lyc.cli.plan_wish import token_price
    from lyc.cli.price_options import price_book

    book = price_book(question.prices, question.price_file, session.settings)
    currency = token_price(question.words.per_token_price)[1]
    return Market(wish, ()) if wish.on_cpu else market(wish, book, residency=question.residency, currency=currency)


def _survey(session: Session, question: Question, planned: Planned, wish: Wish, market: Market) -> Survey:
    from lyc.planning.survey import survey

    if wish.on_cpu:
        return _on_cpu(session, question, planned, wish)
    if market.empty:
        return Survey((), market.elsewhere)
    found = survey(planned.facts, wish)
    return replace(found, rejected=(*found.rejected, *market.elsewhere))


def _sibling(planned: Planned, wish: Wish) -> Fit | None:
    """Where a checkpoint of it with weights of 4 bits would go; None where the user said how it is to lie on what."""
    from lyc.planning.survey import survey

    fixed = wish.quantization or wish.tp or wish.pp or wish.count or wish.on_cpu
    if planned.sibling is None or fixed:
        return None
    return survey(planned.sibling, replace(wish, requantize=False)).chosen


def _saves(smaller: Fit, chosen: Fit | None) -> bool:
    """Whether it costs less; where prices are not known, whether it needs less of the same card."""
    if chosen is None:
        return True
    if smaller.cost is None or chosen.cost is None:
        return smaller.card == chosen.card and smaller.count < chosen.count
    return smaller.cost.per_hour < chosen.cost.per_hour


def _on_cpu(session: Session, question: Question, planned: Planned, wish: Wish) -> Survey:
    from lyc.cli.plan_cpu import on_cpu
    from lyc.wiring import build_machine

    host = build_machine(session.settings).host.facts()
    return on_cpu(question.spec, question.words.engine, planned.facts, wish, host)


def _found(session: Session, question: Question, wish: Wish) -> tuple[Planned, Wish]:
    """The model's facts, and the wish with its draft and adapter in it."""
    from lyc.cli.plan_model import draft, find

    def look(ref: ModelRef) -> tuple[Listing, Read]:
        return _look(session, question.spec, ref)

    here = Path.cwd()
    planned = find(question.spec.model, question.adapter, look, cwd=here)
    wished = question.spec.speculative
    second = draft(wished, planned, look, cwd=here) if wished else None
    return planned, replace(wish, draft=second, adapter=planned.adapter)


def _look(session: Session, spec: DeploymentSpec, ref: ModelRef) -> tuple[Listing, Read]:
    from lyc.cli.credentials import needed
    from lyc.records.model import SourceKind
    from lyc.records.progress import Phase, PhaseEvent, PhaseStatus
    from lyc.records.secret import Secret
    from lyc.wiring import look

    secrets = {name: Secret(text) for name, text in needed(replace(spec, model=str(ref)), os.environ).items()}
    if ref.kind is SourceKind.LOCAL:
        return look(session.settings, ref, credentials=secrets, s3_endpoint=spec.s3_endpoint)
    with session.progress() as progress:  # a phase that only starts leaves nothing on the screen
        progress.event(PhaseEvent(Phase.RESOLVE, PhaseStatus.STARTED, str(ref)))
        return look(
            session.settings,
            ref,
            credentials=secrets,
            s3_endpoint=spec.s3_endpoint,
            say=lambda line: progress.event(PhaseEvent(Phase.RESOLVE, PhaseStatus.PROGRESS, line)),
        )


def _notes(question: Question) -> list[str]:
    notes = []
    ignored = sorted(set(question.spec.engine_args) - set(_read_options()))
    if ignored:
        notes.append(f"the plan takes no notice of {', '.join(ignored)}")
    return notes


def _read_options() -> tuple[str, ...]:
    from lyc.spec.engine_words import READ

    return READ


def _details(session: Session, question: Question, planned: Planned, wish: Wish, fit: Fit) -> str:
    from lyc.cli.plan_terms import loads_text, terms_text

    text = terms_text(session.output, fit, wish, version_asked=question.words.vllm_version is not None)
    loads = loads_text(session.output, _loads(planned, wish, fit))
    return f"{text}\n\n{loads}" if loads else text


def _loads(planned: Planned, wish: Wish, fit: Fit) -> list[tuple[Speed, Cost | None]]:
    """Speed and cost for as many requests at once as have room."""
    from lyc.planning.survey import priced

    if fit.speed is None or fit.cache is None:
        return []
    context = fit.speed.context
    room = min(fit.cache.tokens // context, fit.serving.max_num_seqs)
    at_loads = (
        priced(planned.facts, replace(wish, concurrency=load, context=context), fit) for load in _LOADS if load <= room
    )
    return [(one.speed, one.cost) for one in at_loads if one.speed is not None]


def _nothing_fits(question: Question, wish: Wish, survey: Survey) -> NoFit:
    """The error, with the nearest that would do as the command to type."""
    first = next(iter(survey.rejected), None)
    near = survey.nearest
    if near is None:
        return NoFit(
            "nothing-fits",
            "the model fits on no GPU that was looked at",
            why=first.reasons[0].text if first and first.reasons else "",
            hint="lyc gpus     every card that lyc knows",
        )
    return NoFit(
        "nothing-fits",
        "nothing fits as asked",
        why=f"{cards(first)}: {first.reasons[0].text}" if first and first.reasons else "",
        where="--gpu" if wish.cards else "",
        hint=f"{plan_command(question.typed, near, wish)}\n{_would(near, wish)}",
    )


def _would(near: Fit, wish: Wish) -> str:
    """`h100 × 2 would, with a context of 8k and 12 requests at once, for €5.58 an hour`."""
    name = f"{cards(near)}{', ' + near.quantization if near.quantization else ''}"
    held = held_at_once(near, wish)
    load = f" and {held} requests at once" if wish.concurrency is not None and held < wish.concurrency else ""
    hourly = f", for {money(near.cost.per_hour, near.cost.currency)} an hour" if near.cost else ""
    return f"{name} would, with a context of {tokens(near.serving.max_model_len)}{load}{hourly}"
