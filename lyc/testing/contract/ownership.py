"""Everything of ours is found, and nothing of anybody else's is touched."""
# ruff: noqa: S101

from __future__ import annotations

from lyc.errors import Unreachable
from lyc.records.rental import Leftover, MachineState, machine_name
from lyc.testing.clouds.faults import Fault
from lyc.testing.contract.reads import ALWAYS, read
from lyc.testing.contract.rig import OTHER, OWNER, Rig


class Ownership:
    """A part of `lyc.testing.provider_contract.ProviderContract`."""

    def test_300_machines_and_not_one_of_another(self, rig: Rig) -> None:
        """Over all pages; names that only resemble ours are not ours."""
        rig.cloud.put_many(OTHER, 3)
        for name in ("mail", "lyc", "lyc-demo", f"lyc-{OWNER}", f"x-{machine_name(f'{OWNER}-00000001')}"):
            rig.cloud.put_foreign(name)
        ours = {machine.id for machine in rig.cloud.put_many(OWNER, 300)}
        listed = [machine.id for machine in rig.provider.list_owned(OWNER)]
        assert (len(listed), set(listed)) == (300, ours)

    def test_a_listing_that_breaks_in_the_middle_is_no_listing(self, rig: Rig) -> None:
        """A part of the machines, taken for all, would drop the others from the books."""
        rig.cloud.put_many(OWNER, 300)
        listing = read(rig, "list")
        assert listing is not None
        rig.faults.add(Fault(listing.op, "status", skip=listing.requests - 1, times=ALWAYS, code=500))
        with rig.fails(Unreachable, "provider-unreachable"):
            rig.provider.list_owned(OWNER)

    def test_leftovers_are_found_and_removed(self, rig: Rig) -> None:
        """Of this owner alone; each with why it is thought to be ours; twice is a success."""
        run_id, theirs = f"{OWNER}-0000beef", [*rig.litter_foreign()]
        count = rig.litter(run_id)
        rig.litter(f"{OTHER}-0000beef")
        found = list(rig.provider.leftovers(OWNER))
        assert len(found) == count
        assert len({(one.kind, one.id) for one in found}) == count
        assert {one.run_id for one in found} <= {run_id, None}
        assert all(one.provider == rig.kind.capabilities.name and one.note for one in found)
        others = list(rig.provider.leftovers(OTHER))
        for leftover in found:
            rig.provider.remove(leftover)
            rig.provider.remove(leftover)
        assert list(rig.provider.leftovers(OWNER)) == []
        assert list(rig.provider.leftovers(OTHER)) == others
        assert set(theirs) <= rig.cloud.things.keys()

    def test_what_is_of_others_stays(self, rig: Rig) -> None:
        """A whole sweep of one owner, as the controller does it."""
        theirs = [rig.cloud.put_foreign("mail"), *rig.cloud.put_many(OTHER, 2)]
        things = [*rig.litter_foreign()]
        ours = rig.provider.create(rig.order())
        for machine in rig.provider.list_owned(OWNER):
            rig.provider.terminate(machine.id)
        rig.until_gone(ours.id)
        leftovers: list[Leftover] = list(rig.provider.leftovers(OWNER))
        for leftover in leftovers:
            rig.provider.remove(leftover)
        assert [machine.ended_at for machine in theirs] == [None] * 3
        assert set(things) <= rig.cloud.things.keys()

    def test_what_is_billed_is_a_sum_or_nothing(self, rig: Rig) -> None:
        """Where it tells what it bills: no negative sum, no span that ends before it begins."""
        made = rig.provider.create(rig.order())
        rig.until(made.id, MachineState.RUNNING)
        now = rig.cloud.clock()
        for row in rig.provider.billed(now - 3600, now + 3600) or ():
            assert row.amount >= 0
            assert row.since <= row.until
            assert row.currency == rig.kind.capabilities.currency
