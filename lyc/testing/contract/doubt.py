"""One key is one machine, whatever becomes of the answers; and refusals, after which nothing is there."""
# ruff: noqa: S101

from __future__ import annotations

from contextlib import suppress

from lyc.errors import NoFit, NotAuthorised, Unreachable, UsageError
from lyc.testing.clouds.faults import Fault
from lyc.testing.contract.reads import ALWAYS, in_doubt, nothing_is_left, reads
from lyc.testing.contract.rig import OWNER, Rig


class Doubt:
    """A part of `lyc.testing.provider_contract.ProviderContract`."""

    def test_twice_with_one_key_is_one_machine(self, rig: Rig) -> None:
        """Where the provider has no key of ours, who creates looks first: what is there must be in the list at once."""
        order = rig.order()
        first = rig.provider.create(order)
        if rig.kind.capabilities.idempotent:
            assert rig.provider.create(order).id == first.id
        assert [one.id for one in rig.provider.list_owned(OWNER) if one.run_id == order.run_id] == [first.id]
        assert len(rig.cloud.ever) == 1

    def test_an_answer_that_is_lost(self, rig: Rig) -> None:
        """The machine is there although nobody was told; it is in the list, once."""
        order = rig.order()
        rig.faults.add(Fault("create", "lose"))
        with in_doubt(rig, Unreachable, "provider-unreachable"):
            rig.provider.create(order)
        assert rig.faults.left == 0
        found = [one for one in rig.provider.list_owned(OWNER) if one.run_id == order.run_id]
        assert (len(found), len(rig.cloud.ever)) == (1, 1)
        rig.provider.terminate(found[0].id)
        rig.until_gone(found[0].id)

    def test_a_request_that_is_lost_is_not_sent_again(self, rig: Rig) -> None:
        """The client cannot tell it from a lost answer, so it must not try twice by itself."""
        order, before = rig.order(), len(rig.cloud.calls_of("create"))
        rig.faults.add(Fault("create", "refuse"))
        with in_doubt(rig, Unreachable, "provider-unreachable"):
            rig.provider.create(order)
        if not rig.kind.capabilities.idempotent:
            assert len(rig.cloud.calls_of("create")) == before + 1
            assert (list(rig.provider.list_owned(OWNER)), rig.cloud.ever) == ([], [])
        assert len(rig.cloud.ever) <= 1

    def test_a_request_that_is_done_later_is_found_later(self, rig: Rig) -> None:
        """The first look may see nothing; a later one must."""
        order = rig.order()
        rig.faults.add(Fault("create", "delay", steps=1))
        with in_doubt(rig, Unreachable, "provider-unreachable"):
            rig.provider.create(order)
        seen: list[str | None] = []
        while len(seen) < 5 and order.run_id not in seen:
            seen += [one.run_id for one in rig.provider.list_owned(OWNER)] or [None]
        assert order.run_id in seen

    def test_a_request_that_is_done_twice_hides_no_machine(self, rig: Rig) -> None:
        """Both are in the list, so that one can be ended."""
        order = rig.order()
        rig.faults.add(Fault("create", "double"))
        made = rig.provider.create(order)
        found = {one.id for one in rig.provider.list_owned(OWNER) if one.run_id == order.run_id}
        assert found == {machine.id for machine in rig.cloud.alive()}
        assert made.id in found
        assert len(found) == (1 if rig.kind.capabilities.idempotent else 2)

    def test_an_end_whose_answer_is_lost(self, rig: Rig) -> None:
        """Asking again settles it."""
        made = rig.provider.create(rig.order())
        rig.faults.add(Fault("terminate", "lose"))
        with suppress(Unreachable):
            rig.provider.terminate(made.id)
        assert rig.faults.left == 0
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)

    def test_an_end_that_nobody_heard_is_no_success(self, rig: Rig) -> None:
        """Whoever is told that it went well stops asking."""
        made = rig.provider.create(rig.order())
        rig.faults.add(Fault("terminate", "refuse", times=ALWAYS))
        with rig.fails(Unreachable, "provider-unreachable"):
            rig.provider.terminate(made.id)
        rig.faults.clear()
        assert len(rig.cloud.alive()) == 1
        rig.provider.terminate(made.id)
        rig.until_gone(made.id)

    def test_capacity_that_is_gone_between_offer_and_create(self, rig: Rig) -> None:
        """`no-capacity`, in whatever words the provider says it; nothing stays, and the next offer may be tried."""
        order = rig.order()
        rig.faults.add(Fault("create", "no-capacity"))
        with rig.fails(NoFit, "no-capacity"):
            rig.provider.create(order)
        nothing_is_left(rig, order.run_id)
        assert rig.provider.create(rig.order()).alive

    def test_an_offer_that_is_not_sold_any_more(self, rig: Rig) -> None:
        """`offer-gone`, and nothing stays."""
        order = rig.order(rig.not_sold())
        with rig.fails(UsageError, "offer-gone"):
            rig.provider.create(order)
        nothing_is_left(rig, order.run_id)

    def test_a_credential_that_has_expired(self, rig: Rig) -> None:
        """Each call says `provider-denied`; nothing is created, nothing ended."""
        order, made = rig.order(), rig.provider.create(rig.order())
        expired = rig.connect(expired=True)
        try:
            for one in reads(rig):
                with rig.fails(NotAuthorised, "provider-denied"):
                    one.call(expired)
            with rig.fails(NotAuthorised, "provider-denied"):
                expired.get(made.id)
            with rig.fails(NotAuthorised, "provider-denied"):
                expired.create(order)
            with rig.fails(NotAuthorised, "provider-denied"):
                expired.terminate(made.id)
        finally:
            expired.close()
        assert [machine.run_id for machine in rig.cloud.alive()] == [made.run_id]
