"""Trouble that passes, trouble that stays, and no secret in what is said of either."""
# ruff: noqa: S101

from __future__ import annotations

import pytest

from lyc.errors import Failed, Unreachable
from lyc.testing.clouds.faults import Fault
from lyc.testing.contract.reads import ALWAYS, Read, in_doubt, nothing_is_left, read, reads
from lyc.testing.contract.rig import OWNER, Rig


class Trouble:
    """A part of `lyc.testing.provider_contract.ProviderContract`."""

    @pytest.mark.parametrize("code", [429, 503], ids=["rate-limit", "breakdown"])
    def test_what_only_reads_is_asked_again(self, rig: Rig, code: int) -> None:
        """Twice busy or broken, then well: the caller notices nothing."""
        for one in reads(rig):
            rig.faults.add(Fault(one.op, "status", times=2, code=code, headers={"retry-after": "1"}))
            one.call(rig.provider)
            assert (one.name, rig.faults.left) == (one.name, 0)

    @pytest.mark.parametrize(("code", "ref"), [(429, "provider-busy"), (500, "provider-unreachable")])
    def test_trouble_that_stays_is_told(self, rig: Rig, code: int, ref: str) -> None:
        """`provider-busy` or `provider-unreachable`; never an empty answer."""
        for one in reads(rig):
            rig.faults.add(Fault(one.op, "status", times=ALWAYS, code=code))
            with rig.fails(Unreachable, ref):
                one.call(rig.provider)
            rig.faults.clear()

    def test_a_create_that_is_one_too_many_has_done_nothing(self, rig: Rig) -> None:
        """`provider-busy`: the same order may be placed again."""
        order = rig.order()
        rig.faults.add(Fault("create", "status", times=ALWAYS, code=429))
        with rig.fails(Unreachable, "provider-busy"):
            rig.provider.create(order)
        rig.faults.clear()
        nothing_is_left(rig, order.run_id)
        assert rig.provider.create(order).run_id == order.run_id

    def test_a_create_that_breaks_down_is_not_sent_again(self, rig: Rig) -> None:
        """A machine may stand behind a 502."""
        order, before = rig.order(), len(rig.cloud.calls_of("create"))
        rig.faults.add(Fault("create", "status", code=502, body=b"<html>Bad Gateway</html>"))
        with in_doubt(rig, Unreachable, "provider-unreachable"):
            rig.provider.create(order)
        assert len(rig.cloud.calls_of("create")) == before + 1 or rig.kind.capabilities.idempotent
        assert len(rig.cloud.ever) <= 1

    def test_an_answer_that_cannot_be_read(self, rig: Rig) -> None:
        """`provider-odd-answer`; never an empty answer."""
        for one in reads(rig):
            rig.faults.add(Fault(one.op, "malformed", times=ALWAYS))
            with rig.fails(Failed, "provider-odd-answer"):
                one.call(rig.provider)
            rig.faults.clear()

    def test_a_create_whose_answer_cannot_be_read(self, rig: Rig) -> None:
        """`provider-odd-answer`, and the machine is in the list."""
        order = rig.order()
        rig.faults.add(Fault("create", "malformed"))
        with in_doubt(rig, Failed, "provider-odd-answer"):
            rig.provider.create(order)
        assert [one.run_id for one in rig.provider.list_owned(OWNER)] == [order.run_id]
        assert len(rig.cloud.ever) == 1

    def test_one_that_is_slow(self, rig: Rig) -> None:
        """A slow answer is an answer; one that comes too late is `provider-unreachable`, and its machine is listed."""
        order, listing, hurried = rig.order(), read(rig, "list"), rig.connect(timeout=0.3)
        assert listing is not None
        try:
            rig.faults.add(Fault(listing.op, "slow", seconds=0.05), Fault("create", "slow", seconds=30.0))
            assert list(hurried.list_owned(OWNER)) == []
            with in_doubt(rig, Unreachable, "provider-unreachable"):
                hurried.create(order)
            assert [one.run_id for one in rig.provider.list_owned(OWNER)] == [order.run_id]
            rig.faults.add(Fault(listing.op, "slow", times=ALWAYS, seconds=30.0))
            with rig.fails(Unreachable, "provider-unreachable"):
                hurried.list_owned(OWNER)
        finally:
            hurried.close()

    @pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 422, 500], ids=str)
    def test_a_provider_that_repeats_the_credential(self, rig: Rig, code: int) -> None:
        """Some echo what they were sent; an error goes to the terminal, to the store, and into bug reports."""
        order, readers = rig.order(), [*reads(rig)]
        sent = repr([(call.headers, call.body, call.query) for call in rig.cloud.calls])
        echoed = [secret for secret in rig.secrets if secret in sent]
        assert echoed
        told = f"no access with {' '.join(echoed)}"
        for one in [*readers, Read("create", "create", 1, lambda provider: provider.create(order))]:
            rig.faults.add(Fault(one.op, "status", times=ALWAYS, code=code, body={"message": told, "detail": told}))
            with rig.may_fail():
                one.call(rig.provider)
            rig.faults.clear()
