"""What a provider is and sells, and the life of a machine there."""
# ruff: noqa: S101

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lyc.planning.catalogue.cards import CARDS
from lyc.records.rental import MachineState, machine_name
from lyc.testing.clouds.faults import Fault
from lyc.testing.contract.reads import read
from lyc.testing.contract.rig import OWNER, Rig

THREADS = 3


class Life:
    """A part of `lyc.testing.provider_contract.ProviderContract`."""

    def test_capabilities(self, rig: Rig) -> None:
        """It claims nothing without a page, names its credentials, and writes countries as two letters."""
        able = rig.kind.capabilities
        assert able == rig.provider.capabilities
        assert able.name
        assert able.title
        assert len(able.currency) == 3
        assert able.credentials
        assert able.credentials_page.startswith("https://")
        assert able.pages
        assert all(page.startswith("https://") for page in able.pages)
        countries = [region.country for region in able.regions.values()] + [able.jurisdiction]
        assert all(code == "" or (len(code) == 2 and code.isupper()) for code in countries)

    def test_the_account_is_named_without_a_secret(self, rig: Rig) -> None:
        rig.no_secret(rig.provider.account())

    def test_offers(self, rig: Rig) -> None:
        """Each is unique, has a price in the currency of the capabilities, and a card that lyc may know."""
        able, offers = rig.kind.capabilities, rig.provider.offers()
        assert offers
        assert len({offer.id for offer in offers}) == len(offers)
        for offer in offers:
            assert (offer.provider, offer.currency) == (able.name, able.currency)
            assert offer.count == 0 if offer.card == "cpu" else offer.count >= 1
            assert offer.per_hour > 0
            assert offer.card in {"", "cpu", *CARDS}
            assert able.spot or not offer.spot
            assert offer.seen_at > 0
            if offer.region in able.regions:
                assert offer.country == able.regions[offer.region].country

    def test_ids_of_offers_are_the_same_at_the_next_listing(self, rig: Rig) -> None:
        assert {one.id for one in rig.provider.offers()} == {one.id for one in rig.provider.offers()}

    def test_a_machine_is_created_named_found_and_ended(self, rig: Rig) -> None:
        """Its name holds the run id, it gets an address, it is listed while it lives, and is gone after its end."""
        order = rig.order()
        made = rig.provider.create(order)
        assert (made.provider, made.run_id, made.alive) == (rig.kind.capabilities.name, order.run_id, True)
        assert [machine.name for machine in rig.cloud.alive()] == [machine_name(order.run_id)]
        assert rig.sent(order.public_key)
        running = rig.until(made.id, MachineState.RUNNING)
        assert (running.id, running.run_id, running.problem) == (made.id, order.run_id, "")
        assert (running.address or "").startswith(("203.0.113.", "127.0.0.1"))
        assert running.region in {"", order.offer.region}
        clocks = (rig.cloud.clock(), time.time())  # a fake may have one of its own
        assert running.created_at is None or min(abs(running.created_at - now) for now in clocks) < 600
        assert [machine.id for machine in rig.provider.list_owned(OWNER)] == [made.id]
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)
        assert list(rig.provider.list_owned(OWNER)) == []
        assert rig.cloud.alive() == []

    def test_several_at_once(self, rig: Rig) -> None:
        """One provider is used by many threads: each gets the machine that it asked for."""
        orders = [rig.order() for _ in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            made = list(pool.map(rig.provider.create, orders))
            lists = list(pool.map(lambda _: rig.provider.list_owned(OWNER), range(THREADS)))
        wished = [order.run_id for order in orders]
        assert [machine.run_id for machine in made] == wished
        assert sorted(machine.name for machine in rig.cloud.alive()) == sorted(order.name for order in orders)
        assert [sorted(str(machine.run_id) for machine in listed) for listed in lists] == [sorted(wished)] * THREADS

    def test_the_boot_script_and_the_time_limit_reach_those_that_can(self, rig: Rig) -> None:
        """Who claims to run a script or to end machines by itself is seen to be told of it."""
        able = rig.kind.capabilities
        script = "#!/bin/sh\n# a mark of lyc's contract\ntrue\n"
        rig.provider.create(replace(rig.order(), boot_script=script))
        assert rig.sent("a mark of lyc's contract") or rig.sent(script) or not able.boot_script
        limited = rig.provider.create(replace(rig.order(), time_limit=4321.0))
        if able.time_limit:
            # Some take whole minutes, and some a time of the day.
            assert 4000 < (rig.limit_of(rig.cloud.machines[limited.id]) or 0) < 4500

    def test_nothing_is_left_of_a_machine_once_it_is_removed(self, rig: Rig) -> None:
        """A whole life, and the account is as it was before: what else was made is in the leftovers, and goes."""
        made = rig.provider.create(rig.order())
        rig.until(made.id, MachineState.RUNNING)
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)
        for leftover in rig.provider.leftovers(OWNER):
            rig.provider.remove(leftover)
        assert list(rig.provider.leftovers(OWNER)) == []
        assert list(rig.cloud.things.values()) == []

    def test_one_that_is_missing_ends_without_an_error(self, rig: Rig) -> None:
        """Of an id that never was, and of one that has gone."""
        rig.provider.terminate(rig.missing)
        assert rig.provider.get(rig.missing) is None
        made = rig.provider.create(rig.order())
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)
        rig.provider.terminate(made.id)

    def test_a_machine_that_is_ending_may_be_ended_again(self, rig: Rig) -> None:
        """Ending takes a while with some; asking again meanwhile is no error and does no more."""
        rig.cloud.linger = 2
        made = rig.provider.create(rig.order())
        rig.provider.terminate(made.id)
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)
        assert len(rig.cloud.ever) == 1

    def test_it_fails_late(self, rig: Rig) -> None:
        """It is created, then fails: still alive, in the list, with a reason; and can be ended."""
        rig.faults.add(Fault("create", "late-failure", problem="no GPU was found"))
        made = rig.provider.create(rig.order())
        failed = rig.until(made.id, MachineState.FAILED)
        assert failed.alive
        assert failed.problem
        assert [machine.id for machine in rig.provider.list_owned(OWNER)] == [made.id]
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)

    def test_a_status_that_nobody_knows_is_alive(self, rig: Rig) -> None:
        """A new word of the provider must hide no machine that costs."""
        made = rig.provider.create(rig.order())
        rig.until(made.id, MachineState.RUNNING)
        listing = read(rig, "list")
        assert listing is not None
        rig.faults.add(Fault(listing.op, "odd-state", word="quiescing"))
        listed = rig.provider.list_owned(OWNER)
        assert rig.faults.left == 0
        assert [(one.id, one.state, one.alive) for one in listed] == [(made.id, MachineState.UNKNOWN, True)]
        assert "quiescing" in listed[0].word.lower()
        found = rig.provider.get(made.id)
        assert found is not None
        assert found.state is MachineState.UNKNOWN
