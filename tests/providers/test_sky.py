"""SkyPilot's provider against a server that answers as SkyPilot's does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from lyc.errors import Failed, NoFit, NotAuthorised, UsageError
from lyc.ports import Provider
from lyc.providers.sky import CHOSEN, KIND, SERVER
from lyc.providers.sky.provider import LOOKS, Sky
from lyc.records.rental import MachineState
from lyc.records.secret import Secret
from lyc.testing.clouds import sky
from lyc.testing.clouds.core import FakeMachine
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import App, serve
from lyc.testing.contract.rig import OWNER, Rig
from lyc.testing.provider_contract import ProviderContract

GOOD, EXPIRED = "sky_good_0123456789abcdef", "sky_expired_fedcba9876543210"


def limit_of(machine: FakeMachine) -> float | None:
    """Its agent ends it by what its task says."""
    autostop = json.loads(machine.payload["task"])["resources"].get("autostop")
    if autostop is None or not autostop["down"] or autostop["wait_for"] != "none":
        return None
    return float(autostop["idle_minutes"] * 60)


@pytest.fixture
def app() -> App:
    return sky.app(sky.Clusters(sky.CAPACITY), GOOD)


@pytest.fixture
def base(app: App) -> Iterator[str]:
    with serve(app) as address:
        yield address


@pytest.fixture
def rig(app: App, base: str) -> Rig:
    def connect(*, expired: bool = False, timeout: float | None = None) -> Provider:
        token = Secret(EXPIRED if expired else GOOD)
        spans = {} if timeout is None else {"timeout": timeout, "create_timeout": timeout}
        return Sky(Secret(base), token, clock=time.time, pause=lambda _seconds: None, **spans)

    secrets, missing = [GOOD, EXPIRED], "lyc-0a1b2c3d-deadbeef"
    return Rig(KIND, connect, app.cloud, app.faults, secrets, missing=missing, limit_of=limit_of)


class TestContract(ProviderContract):
    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        return rig


# -- what SkyPilot does as no other


def slow(rig: Rig, *, queued: bool = False) -> None:
    """The next machine is not there for long."""
    rig.cloud.fates.append(lambda machine: setattr(machine, "looks", 1000))
    if queued:
        rig.cloud.fates[-1] = lambda machine: (setattr(machine, "looks", 1000), machine.data.update(queued=True))


def test_a_launch_that_takes_long_is_told_as_taken(rig: Rig) -> None:
    """After a minute; a refusal that comes then is found by its name, with its reason, until its end is asked for."""
    slow(rig)
    order = rig.order()
    made = rig.provider.create(order)
    assert (made.id, made.state) == (order.name, MachineState.CREATING)
    assert len(rig.cloud.calls_of("journal")) == LOOKS
    late = rig.cloud.machines[order.name]
    late.state, late.data["refused"] = MachineState.GONE, "Failed to acquire resources in all zones"
    found = rig.provider.get(order.name)
    assert found is not None
    assert (found.state, found.run_id, found.problem) == (MachineState.FAILED, order.run_id, late.data["refused"])
    assert list(rig.provider.list_owned(OWNER)) == []
    rig.provider.terminate(order.name)
    assert rig.provider.get(order.name) is None


@pytest.mark.parametrize("kind", ["status", "malformed"])
def test_trouble_after_a_launch_was_taken_is_no_refusal(rig: Rig, kind: Literal["status", "malformed"]) -> None:
    """What lyc takes for a refusal it would not look for again."""
    rig.faults.add(Fault("journal", kind, times=1000, code=404))
    order = rig.order()
    made = rig.provider.create(order)
    assert (made.id, made.run_id, made.state) == (order.name, order.run_id, MachineState.CREATING)
    rig.faults.clear()
    assert [one.id for one in rig.provider.list_owned(OWNER)] == [order.name]


def test_a_launch_that_waits_for_its_turn_is_listed_and_ended(rig: Rig) -> None:
    """SkyPilot knows of no cluster yet, so its `down` fails, and the launch would go on."""
    slow(rig, queued=True)
    order = rig.order()
    assert rig.provider.create(order).state is MachineState.CREATING
    assert [(one.id, one.state) for one in rig.provider.list_owned(OWNER)] == [(order.name, MachineState.CREATING)]
    assert list(rig.provider.list_owned("99999999")) == []
    rig.provider.terminate(order.name)
    assert rig.provider.get(order.name) is None
    assert (list(rig.provider.list_owned(OWNER)), rig.cloud.alive()) == ([], [])


def test_the_places_that_were_tried_are_named(rig: Rig) -> None:
    """As SkyPilot says it, without its colours."""
    offer = next(one for one in rig.provider.offers() if one.region == "oci/eu-frankfurt-1")
    with pytest.raises(NoFit) as caught:
        rig.provider.create(rig.order(offer))
    assert "✗ oci/eu-frankfurt-1 Failed to acquire resources in all zones." in (caught.value.why or "")
    assert "\x1b" not in (caught.value.why or "")


def test_a_type_that_is_not_sold_any_more(rig: Rig) -> None:
    offer = rig.provider.offers()[0]
    with pytest.raises(UsageError) as caught:
        rig.provider.create(rig.order(replace(offer, id=offer.id.replace("g2-standard-4", "g9-huge"))))
    assert (caught.value.ref, caught.value.why) == ("offer-gone", "Invalid instance type 'g9-huge'.")


def test_a_failure_does_not_repeat_the_credential(rig: Rig) -> None:
    """An exception of the server's may say what it was called with."""
    error = json.dumps({"object": "", "type": "RuntimeError", "message": f"cannot fetch with {GOOD}"})
    body = {"detail": {"status": "FAILED", "error": error, "return_value": "null"}}
    rig.faults.add(Fault("list", "status", code=500, body=body))
    with rig.fails(Failed, "provider-refused"):
        rig.provider.list_owned(OWNER)


def test_an_address_is_asked_for_once(rig: Rig) -> None:
    """Each is a request that the server writes down, and `list` would make one a machine."""
    made = rig.provider.create(rig.order())
    assert made.address
    rig.provider.get(made.id)
    assert [one.address for one in rig.provider.list_owned(OWNER)] == [made.address]
    assert len([call for call in rig.cloud.calls if call.path == "/endpoints"]) == 1


def test_what_is_sold(rig: Rig) -> None:
    """Only by clouds that may be used; as spot too where there is a price for it; no card is guessed."""
    found = {one.id: one for one in rig.provider.offers()}
    assert found.keys() == set(sky.CAPACITY)
    told = {(one.card, one.count, one.country, one.spot, one.jurisdiction) for one in found.values()}
    assert told == {
        ("l4", 1, "DE", False, "US"),
        ("l4", 1, "DE", True, "US"),
        ("h100", 8, "US", False, "US"),
        ("h200", 1, "FI", False, ""),
        ("a10", 1, "DE", False, "US"),
        ("", 1, "DE", False, "US"),  # A100-80GB of Azure's NC are PCIe, which SkyPilot does not say
        ("rtx-a6000", 1, "", False, ""),
    }
    assert {str(one.per_hour) for one in found.values() if one.spot} == {"0.71"}


@pytest.mark.parametrize(
    ("chosen", "regions"),
    [("gcp, OCI", {"gcp", "oci"}), ("aws", set()), (None, {"gcp", "oci", "azure", "nebius", "cudo"})],
)
def test_the_clouds_that_are_asked(rig: Rig, base: str, chosen: str | None, regions: set[str]) -> None:
    """What may not be used is left out, and nobody is asked about nothing."""
    provider = Sky(Secret(base), Secret(GOOD), clouds=chosen, clock=time.time)
    assert {one.region.partition("/")[0] for one in provider.offers()} == regions
    words = provider.account()
    assert all(name in words for name in regions)
    assert ("sky check" in words) is (not regions)
    provider.close()


def test_an_address_may_hold_a_password(base: str) -> None:
    """It goes into a header, and into no log and no error."""
    with pytest.raises(NotAuthorised) as caught:
        Sky(Secret(base.replace("//", "//ada:s3cr%40t-word@")), None, clock=time.time).account()
    assert "s3cr" not in repr(caught.value.document())


@pytest.mark.parametrize("written", ["localhost:46580", "ftp://a", "http://", "http://a:99999999", ""])
def test_an_address_that_is_none(written: str) -> None:
    with pytest.raises(UsageError) as caught:
        KIND.open({SERVER: Secret(written)}, endpoint=None, clock=time.time)
    assert caught.value.ref == "invalid-endpoint"


def test_a_cloud_that_lyc_does_not_rent_from() -> None:
    with pytest.raises(UsageError) as caught:
        KIND.open({SERVER: Secret("http://a"), CHOSEN: Secret("gcp,vast")}, endpoint=None, clock=time.time)
    assert (caught.value.ref, caught.value.where) == ("unknown-cloud", CHOSEN)
    assert "vast" in caught.value.what
