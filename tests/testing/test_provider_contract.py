"""The suite of providers can fail: for each of its tests a provider that is broken in just that way."""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lyc.errors import Failed, LycError, NoFit, NotAuthorised, Unreachable, UsageError
from lyc.providers.lyceum.provider import Lyceum
from lyc.records.rental import Billed, Leftover, Machine, MachineState, Offer, Order
from lyc.testing.clouds.lyceum import KEY
from lyc.testing.contract.life import THREADS
from lyc.testing.provider_contract import ProviderContract, Rig
from tests.providers.lyceum_rig import lyceum_rig


def other_words(wrong: type[LycError], *caught: type[LycError]) -> Callable[..., Any]:
    """A method that does what it did, but says so as another error."""

    def method(name: str) -> Callable[..., Any]:
        def call(self: Lyceum, *arguments: Any) -> Any:
            try:
                return getattr(Lyceum, name)(self, *arguments)
            except caught as error:
                raise wrong(error.ref, error.what) from error

        return call

    return method


def quiet(name: str, answer: Any, *caught: type[LycError]) -> Callable[..., Any]:
    """A method that takes trouble for an empty answer."""

    def call(self: Lyceum, *arguments: Any) -> Any:
        try:
            return getattr(Lyceum, name)(self, *arguments)
        except caught:
            return answer

    return call


class NoPages(Lyceum):
    @property
    def capabilities(self) -> Any:
        return replace(super().capabilities, pages=())


class TellsTheKey(Lyceum):
    def account(self) -> str:
        return f"{super().account()} ({KEY})"


class FreeOfCharge(Lyceum):
    def offers(self) -> Sequence[Offer]:
        return [replace(offer, per_hour=offer.per_hour * 0) for offer in super().offers()]


class FreshIds(Lyceum):
    _numbers = itertools.count()

    def offers(self) -> Sequence[Offer]:
        return [replace(offer, id=f"{offer.id}.{next(self._numbers)}") for offer in super().offers()]


class OtherName(Lyceum):
    def create(self, order: Order) -> Machine:
        return replace(super().create(replace(order, run_id="0a1b2c3d-ffffffff")), run_id=order.run_id)


class LastOrder(Lyceum):
    """It keeps what belongs to one call where all see it."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self._all_here = threading.Barrier(THREADS, timeout=10)

    def create(self, order: Order) -> Machine:
        self._order = order
        self._all_here.wait()
        return super().create(self._order)


class OtherZone(Lyceum):
    def get(self, identity: str) -> Machine | None:
        found = super().get(identity)
        return found and replace(found, created_at=(found.created_at or 0) + 7200)


class Litters(Lyceum):
    rig: Rig

    def create(self, order: Order) -> Machine:
        self.rig.cloud.put("key", order.name)
        return super().create(order)


class EndsOnce(Lyceum):
    """It remembers what it ended, and takes a second time for a mistake."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self._ended: set[str] = set()

    def terminate(self, identity: str) -> None:
        if identity in self._ended:
            raise Failed("provider-refused", "it is ending already")
        self._ended.add(identity)
        super().terminate(identity)


class WantsItThere(Lyceum):
    def terminate(self, identity: str) -> None:
        if self.get(identity) is None:
            raise Failed("provider-refused", "there is no such machine")
        super().terminate(identity)


def listing(keep: Callable[[Machine], bool]) -> type[Lyceum]:
    class Mutant(Lyceum):
        def list_owned(self, owner: str) -> Sequence[Machine]:
            return [machine for machine in super().list_owned(owner) if keep(machine)]

    return Mutant


class TriesTwice(Lyceum):
    def create(self, order: Order) -> Machine:
        try:
            return super().create(order)
        except (Unreachable, Failed):
            return super().create(order)


class ListsOnce(Lyceum):
    _seen: Sequence[Machine] | None = None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        self._seen = super().list_owned(owner) if self._seen is None else self._seen
        return self._seen


class OneOfEachRun(Lyceum):
    def list_owned(self, owner: str) -> Sequence[Machine]:
        return list({machine.run_id: machine for machine in super().list_owned(owner)}.values())


class Impatient(Lyceum):
    def __init__(self, *arguments: Any, **words: Any) -> None:
        def pause(_seconds: float) -> None:
            raise Unreachable("provider-busy", "no patience")

        super().__init__(*arguments, **{**words, "pause": pause})


class RefusesAndRents(Lyceum):
    def create(self, order: Order) -> Machine:
        try:
            return super().create(order)
        except NoFit:
            super().create(order)
            raise


class FirstPage(Lyceum):
    def list_owned(self, owner: str) -> Sequence[Machine]:
        return super().list_owned(owner)[:100]


class Everybodys(Lyceum):
    def list_owned(self, owner: str) -> Sequence[Machine]:
        return [*super().list_owned(owner), *super().list_owned("99999999")]


class EverybodysDisks(Lyceum):
    def leftovers(self, owner: str) -> Sequence[Leftover]:
        return [*super().leftovers(owner), *super().leftovers("99999999")]


class RemovesOnce(Lyceum):
    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self._removed: set[str] = set()

    def remove(self, leftover: Leftover) -> None:
        if leftover.id in self._removed:
            raise Failed("provider-refused", "there is no such volume")
        self._removed.add(leftover.id)
        super().remove(leftover)


class Backwards(Lyceum):
    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        return [replace(row, amount=-row.amount - 1) for row in super().billed(since, until) or ()]


class SaysTheKey(Lyceum):
    def account(self) -> str:
        try:
            return super().account()
        except LycError as error:
            raise Failed("provider-refused", "no", why=f"sent {KEY}") from error


def with_(**methods: Any) -> type[Lyceum]:
    return type("Mutant", (Lyceum,), methods)


silent_list = with_(list_owned=quiet("list_owned", [], Unreachable, Failed))
not_its_words = other_words(Failed, NoFit, UsageError)
unreachable = other_words(Unreachable, NotAuthorised)

MUTANTS: list[tuple[str, type[Lyceum], dict[str, Any]]] = [
    ("test_capabilities", NoPages, {}),
    ("test_the_account_is_named_without_a_secret", TellsTheKey, {}),
    ("test_offers", FreeOfCharge, {}),
    ("test_ids_of_offers_are_the_same_at_the_next_listing", FreshIds, {}),
    ("test_a_machine_is_created_named_found_and_ended", OtherName, {}),
    ("test_a_machine_is_created_named_found_and_ended", with_(terminate=lambda self, identity: None), {}),
    ("test_a_machine_is_created_named_found_and_ended", OtherZone, {}),
    ("test_several_at_once", LastOrder, {}),
    ("test_nothing_is_left_of_a_machine_once_it_is_removed", Litters, {}),
    ("test_one_that_is_missing_ends_without_an_error", WantsItThere, {}),
    ("test_a_machine_that_is_ending_may_be_ended_again", EndsOnce, {}),
    ("test_it_fails_late", listing(lambda machine: machine.state is not MachineState.FAILED), {}),
    ("test_a_status_that_nobody_knows_is_alive", listing(lambda one: one.state is not MachineState.UNKNOWN), {}),
    ("test_twice_with_one_key_is_one_machine", listing(lambda one: one.state is not MachineState.RUNNING), {}),
    ("test_an_answer_that_is_lost", TriesTwice, {}),
    ("test_a_request_that_is_lost_is_not_sent_again", TriesTwice, {}),
    ("test_a_request_that_is_done_later_is_found_later", ListsOnce, {}),
    ("test_a_request_that_is_done_twice_hides_no_machine", OneOfEachRun, {}),
    ("test_an_end_whose_answer_is_lost", EndsOnce, {}),
    ("test_an_end_that_nobody_heard_is_no_success", with_(terminate=quiet("terminate", None, Unreachable)), {}),
    ("test_capacity_that_is_gone_between_offer_and_create", with_(create=not_its_words("create")), {}),
    ("test_capacity_that_is_gone_between_offer_and_create", RefusesAndRents, {}),
    ("test_an_offer_that_is_not_sold_any_more", with_(create=not_its_words("create")), {}),
    ("test_a_credential_that_has_expired", with_(offers=unreachable("offers")), {}),
    ("test_a_credential_that_has_expired", with_(terminate=quiet("terminate", None, NotAuthorised)), {}),
    ("test_what_only_reads_is_asked_again", Impatient, {"code": 429}),
    ("test_what_only_reads_is_asked_again", Impatient, {"code": 503}),
    ("test_trouble_that_stays_is_told", silent_list, {"code": 500, "ref": "provider-unreachable"}),
    ("test_a_create_that_is_one_too_many_has_done_nothing", with_(create=quiet("create", None, Unreachable)), {}),
    ("test_a_create_that_breaks_down_is_not_sent_again", TriesTwice, {}),
    ("test_an_answer_that_cannot_be_read", silent_list, {}),
    ("test_a_create_whose_answer_cannot_be_read", TriesTwice, {}),
    ("test_one_that_is_slow", silent_list, {}),
    ("test_300_machines_and_not_one_of_another", FirstPage, {}),
    ("test_300_machines_and_not_one_of_another", Everybodys, {}),
    ("test_a_listing_that_breaks_in_the_middle_is_no_listing", silent_list, {}),
    ("test_leftovers_are_found_and_removed", with_(leftovers=lambda self, owner: ()), {}),
    ("test_leftovers_are_found_and_removed", EverybodysDisks, {}),
    ("test_leftovers_are_found_and_removed", RemovesOnce, {}),
    ("test_what_is_of_others_stays", Everybodys, {}),
    ("test_what_is_billed_is_a_sum_or_nothing", Backwards, {}),
    ("test_a_provider_that_repeats_the_credential", SaysTheKey, {"code": 401}),
]
CLAIMS_MORE = {"test_the_boot_script_and_the_time_limit_reach_those_that_can"}
"""Those that look at what a provider claims of itself: tried below."""


def run(rig: Rig, name: str, arguments: dict[str, Any]) -> None:
    getattr(ProviderContract(), name)(rig, **arguments)


def names() -> set[str]:
    return {name for name, _ in inspect.getmembers(ProviderContract, inspect.isfunction) if name.startswith("test_")}


def test_each_test_of_the_suite_is_shown_to_fail() -> None:
    assert {name for name, _, _ in MUTANTS} | CLAIMS_MORE == names()


@pytest.mark.parametrize(("name", "mutant", "arguments"), MUTANTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_provider_that_is_broken_is_found_out(name: str, mutant: type[Lyceum], arguments: dict[str, Any]) -> None:
    with lyceum_rig(mutant) as rig:
        if isinstance(rig.provider, Litters):
            rig.provider.rig = rig
        with pytest.raises((AssertionError, LycError)):
            run(rig, name, arguments)


@pytest.mark.parametrize("claim", ["boot_script", "time_limit"])
def test_a_claim_that_is_not_kept(claim: str) -> None:
    with lyceum_rig() as rig:

        class Kind:
            capabilities = replace(rig.kind.capabilities, **{claim: True})
            open = rig.kind.open

        rig.kind = Kind()  # type: ignore[assignment]
        with pytest.raises(AssertionError):
            run(rig, "test_the_boot_script_and_the_time_limit_reach_those_that_can", {})


def test_the_verdict_after_each_test(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with lyceum_rig() as rig:
        rig.provider.offers()
        rig.verdict(caplog.text)
        with pytest.raises(AssertionError, match="a secret shows in: sent <SECRET 0>"):
            rig.verdict(f"sent {KEY}")
        theirs = rig.cloud.put_foreign("mail")
        rig.provider.terminate(theirs.id)
        with pytest.raises(AssertionError, match="mail was not ours to end"):
            rig.verdict("")


def test_the_verdict_on_what_a_debugger_prints() -> None:
    with (
        lyceum_rig(with_(__repr__=lambda self: f"Lyceum({KEY})")) as rig,
        pytest.raises(AssertionError, match="a secret shows"),
    ):
        rig.verdict("")


def test_the_verdict_on_a_request_against_the_schema() -> None:
    with lyceum_rig() as rig:
        rig.provider._api.http.get("/vms/list", params={"page": "2"})  # type: ignore[attr-defined]
        with pytest.raises(AssertionError, match="page"):
            rig.verdict("")
