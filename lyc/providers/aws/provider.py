"""EC2 as a provider: every region at once, idempotent by ClientToken, found again by tag."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from lyc.errors import Failed, LycError, Unreachable, UsageError
from lyc.providers.aws import CAPABILITIES, codes
from lyc.providers.aws.api import HOME, Answered, Aws, where
from lyc.providers.aws.ground import Ground
from lyc.providers.aws.market import on_sale
from lyc.providers.aws.translate import TAG, Wanted, launch, leftover, machine, notice, wanted
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, MachineState, Offer, Order

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Born:
    at: float
    run_id: str


class Ec2:
    """Implements `lyc.ports.Provider`. regions: those to use, empty = all that are switched on for the account.

    EC2 may say of a machine that it has just made that there is none, and may then not end it either: one that was made
    here is believed to exist for `CAPABILITIES.settle` seconds, whatever EC2 says.
    """

    def __init__(self, aws: Aws, *, regions: frozenset[str] = frozenset(), clock: Callable[[], float]) -> None:
        self._aws = aws
        self._ground = Ground(aws)
        self._regions = regions
        self._home = min(regions, default=HOME)
        self._clock = clock
        self._lock = threading.Lock()
        self._born: dict[str, _Born] = {}

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def account(self) -> str:
        told = self._aws.call("sts", self._home, "get_caller_identity", again=True)
        return str(told.get("Arn") or told.get("Account") or "")

    def offers(self) -> Sequence[Offer]:
        return self._everywhere(lambda region: on_sale(self._aws, region, self._clock()))

    def create(self, order: Order) -> Machine:
        what = wanted(order.offer.id)
        group: str | None = None
        try:
            image = self._ground.image(what.region)
            group = self._ground.group(what.region, order)
            told = self._run(order, what, image, group)
        except LycError as error:
            if group is not None and codes.nothing_made(error):
                self._ground.drop(what.region, group)
            raise
        with codes.understood(f"ec2 run_instances {what.region}"):
            made = machine(what.region, told)
        with self._lock:
            self._born[made.id] = _Born(self._clock(), order.run_id)
        return made

    def get(self, identity: str) -> Machine | None:
        region, told = self._instance(identity)
        if told is None:
            born = self._young(identity)
            if born is None:
                return None
            return Machine(CAPABILITIES.name, identity, MachineState.CREATING, "", born.run_id, region=region)
        request = told.get("SpotInstanceRequestId")
        at = notice(self._spot_request(region, request)) if request else None
        with codes.understood(f"ec2 describe_instances {region}"):
            found = machine(region, told, at)
        if found.alive:
            return found
        with self._lock:
            self._born.pop(identity, None)
        return None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        def here(region: str) -> list[Machine]:
            # Not by state: EC2 would leave out what has a state that lyc does not know.
            rows = self._reservations(region, Filters=[where(f"tag:{TAG}", f"{owner}-*")])
            return [found for row in rows if (found := machine(region, row)).alive]

        found = [one for one in self._everywhere(here) if one.run_id and one.run_id.startswith(f"{owner}-")]
        seen = {one.id for one in found}
        with self._lock:
            young = [(identity, born) for identity, born in self._born.items() if born.run_id.startswith(f"{owner}-")]
        late = [self.get(identity) for identity, _ in young if identity not in seen and self._young(identity)]
        return [*found, *(one for one in late if one is not None)]

    def terminate(self, identity: str) -> None:
        region, _, instance = identity.rpartition("/")
        try:
            self._ec2(region, "terminate_instances", again=True, known=codes.MISSING, InstanceIds=[instance])
        except Answered as missing:
            if self._young(identity) is not None:
                what = "EC2 does not yet know the machine that it has just made"
                at = f"ec2 terminate_instances {region}"
                raise Unreachable("provider-busy", what, why=missing.code, where=at) from None

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        def here(region: str) -> list[Leftover]:
            rows = self._aws.pages(
                "ec2", region, "describe_tags", "Tags", size=1000,
                Filters=[where("key", TAG), where("value", f"{owner}-*")],
            )  # fmt: skip
            return [found for row in rows if (found := leftover(region, row)) is not None]

        return self._everywhere(here)

    def remove(self, leftover: Leftover) -> None:
        region, _, identity = leftover.id.rpartition("/")
        operation, parameter = {
            "volume": ("delete_volume", "VolumeId"),
            "address": ("release_address", "AllocationId"),
            "group": ("delete_security_group", "GroupId"),
            "key": ("delete_key_pair", "KeyPairId"),
        }[leftover.kind]
        with contextlib.suppress(Answered):
            self._ec2(region, operation, again=True, known=codes.MISSING, **{parameter: identity})

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:  # noqa: ARG002
        # Cost Explorer bills each question, and knows single machines only where that was switched on.
        return None

    def close(self) -> None:
        self._aws.close()

    def _run(self, order: Order, what: Wanted, image: Mapping[str, Any], group: str) -> Mapping[str, Any]:
        at = f"ec2 run_instances {what.region}"
        asked = launch(order, what, image, group)
        try:
            made = self._ec2(what.region, "run_instances", again=False, known=codes.SPENT, **asked).get("Instances")
        except Answered as earlier:
            # This run id has made a machine before, of a request that differed: there may be a newer image since.
            named = [where("client-token", order.run_id)]
            rows = list(self._reservations(what.region, Filters=named))
            made = [row for row in rows if machine(what.region, row).alive]
            if not made and (rows or earlier.code in codes.ENDED):
                ended = "the machine of this run has ended already"
                raise Failed("provider-refused", ended, why=earlier.code, where=at) from None
        if not made:
            raise codes.odd("it does not tell of the machine", at)
        first: Mapping[str, Any] = made[0]
        return first

    def _instance(self, identity: str) -> tuple[str, Mapping[str, Any] | None]:
        region, _, instance = identity.rpartition("/")
        try:
            told = self._ec2(region, "describe_instances", again=True, known=codes.MISSING, InstanceIds=[instance])
        except Answered:
            return region, None
        rows = [row for reservation in told.get("Reservations") or () for row in reservation.get("Instances") or ()]
        return region, next(iter(rows), None)

    def _spot_request(self, region: str, request: str) -> Sequence[Mapping[str, Any]]:
        named = [where("spot-instance-request-id", request)]
        told = self._ec2(region, "describe_spot_instance_requests", again=True, Filters=named)
        return told.get("SpotInstanceRequests") or ()

    def _reservations(self, region: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        for reservation in self._aws.pages("ec2", region, "describe_instances", "Reservations", size=1000, **params):
            yield from reservation.get("Instances") or ()

    def _young(self, identity: str) -> _Born | None:
        with self._lock:
            born = self._born.get(identity)
            if born is not None and self._clock() - born.at > CAPABILITIES.settle:
                del self._born[identity]
                return None
            return born

    def _ec2(self, region: str, operation: str, **params: Any) -> Mapping[str, Any]:
        return self._aws.call("ec2", region, operation, **params)

    def _everywhere(self, ask: Callable[[str], list[T]]) -> list[T]:
        """`ask` of each region at once; raises what one of them raises, rather than leave that region out."""
        named = [where("region-name", *(sorted(self._regions) or ["eu-*"]))]
        told = self._ec2(self._home, "describe_regions", again=True, Filters=named).get("Regions") or ()
        regions = sorted(str(row.get("RegionName")) for row in told)
        if missing := self._regions - set(regions):
            raise UsageError(
                "unknown-region",
                f"AWS has no region {min(missing)} that is switched on for this account",
                where="LYC_AWS_REGIONS",
                hint="aws ec2 describe-regions --all-regions",
            )

        def understood(region: str) -> list[T]:
            with codes.understood(f"ec2 {region}"):
                return ask(region)

        with ThreadPoolExecutor(max_workers=max(1, len(regions)), thread_name_prefix="lyc-aws") as pool:
            return [item for answer in pool.map(understood, regions) for item in answer]
