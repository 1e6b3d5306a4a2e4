"""EC2's JSON to our records, and an Order to its request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from lyc.errors import UsageError
from lyc.providers.aws import CAPABILITIES
from lyc.providers.aws.boot import user_data
from lyc.records.rental import Leftover, Machine, MachineState, Offer, Order, machine_name, run_id_of
from lyc.units import GIB, MIB

TAG = "lyc-run"
"""Tag that holds the run id, on all that is made for a machine."""

ARCHITECTURE = "x86_64"
"""Machines with ARM processors (g5g) are left out: their card, T4G, has no engine."""

# As EC2 calls a card, with its memory in MiB where that tells two apart; what is not here is a card unknown to lyc.
_CARDS = {
    "T4": "t4",
    "A10G": "a10g",
    "L4": "l4",
    "L40S": "l40s",
    "RTX PRO Server 6000": "rtx-pro-6000",
    "A100 40960": "a100-40",
    "A100 81920": "a100-80",
    "H100": "h100",
    "H200": "h200",
    "B200": "b200",
    "B300": "b300",
}
CPU_KINDS = ("m7i.xlarge", "m7i.2xlarge", "m7i.4xlarge", "m7i.8xlarge")
"""Kinds without a GPU that lyc rents, for small models: 4 to 32 vCPUs with 4 GiB each, of a processor with AVX-512 and
AMX, which the engine's CPU build uses: https://aws.amazon.com/ec2/instance-types/m7i/
"""
_STATES = {
    "pending": MachineState.CREATING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPED,
    "stopped": MachineState.STOPPED,
    "shutting-down": MachineState.ENDING,
    "terminated": MachineState.GONE,
}
_KINDS = {"vol": "volume", "eipalloc": "address", "sg": "group", "key": "key"}
_BILLED = {"volume", "address"}
_OFFER = re.compile(r"(?P<region>[a-z]+(-[a-z]+)+-\d+)/(?P<kind>[a-z0-9-]+\.[a-z0-9-]+)(/spot/(?P<zone>[a-z0-9-]+))?")
# Why a machine ended that nobody asked to end, and that never ran; `Server.` begins the others.
_FAILURES = {"Client.InternalError", "Client.InvalidSnapshot.NotFound", "Client.VolumeLimitExceeded"}
_TAKEN_BACK = {"Server.SpotInstanceTermination", "Server.SpotInstanceShutdown", "Server.ScheduledStop"}
_NOTICE = 120.0
"""Seconds from the mark to the end of a spot machine."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an offer's id says. zone: of a spot machine, whose price and stock are a zone's."""

    region: str
    kind: str
    zone: str | None = None

    @property
    def identity(self) -> str:
        return f"{self.region}/{self.kind}" + (f"/spot/{self.zone}" if self.zone else "")


def wanted(identity: str) -> Wanted:
    """Raises UsageError `offer-gone` for what was never an id of an offer."""
    found = _OFFER.fullmatch(identity)
    if found:
        return Wanted(found["region"], found["kind"], found["zone"])
    raise UsageError("offer-gone", f"AWS has no offer {identity!r}", hint="lyc gpus --available")


def sold(kind: Mapping[str, Any]) -> bool:
    """Whether a kind of machine is one that lyc can rent: whole cards or one of `CPU_KINDS`, and a processor that
    engines exist for.
    """
    gpus = (kind.get("GpuInfo") or {}).get("Gpus") or ()
    # g6f and the like hold a slice of a card, and count 0 of them.
    whole = sum(gpu.get("Count") or 0 for gpu in gpus) > 0 or kind.get("InstanceType") in CPU_KINDS
    return whole and ARCHITECTURE in (kind.get("ProcessorInfo") or {}).get("SupportedArchitectures", ())


def offers(
    region: str,
    kinds: Iterable[Mapping[str, Any]],
    prices: Mapping[str, Decimal],
    spot: Iterable[Mapping[str, Any]],
    now: float,
) -> list[Offer]:
    """prices: per hour by kind. spot: rows of the price history, of which the newest of each kind and zone rules.

    What has no price has no offer.
    """
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in spot:
        key = (row["InstanceType"], row["AvailabilityZone"])
        if key not in latest or latest[key]["Timestamp"] < row["Timestamp"]:
            latest[key] = row
    found = []
    for kind in filter(sold, kinds):
        name, ways = kind["InstanceType"], kind.get("SupportedUsageClasses") or ("on-demand",)
        if name in prices and "on-demand" in ways:
            found.append(_offer(Wanted(region, name), kind, prices[name], now))
        if "spot" in ways:
            for (of, zone), row in latest.items():
                price = _amount(row["SpotPrice"]) if of == name else None
                if price is not None:
                    found.append(_offer(Wanted(region, name, zone), kind, price, now))
    return found


def _offer(what: Wanted, kind: Mapping[str, Any], price: Decimal, now: float) -> Offer:
    gpus = (kind.get("GpuInfo") or {}).get("Gpus") or ()
    first = gpus[0] if gpus else {}
    name, size = first.get("Name", ""), (first.get("MemoryInfo") or {}).get("SizeInMiB")
    region = CAPABILITIES.regions.get(what.region)
    memory = (kind.get("MemoryInfo") or {}).get("SizeInMiB")
    return Offer(
        provider=CAPABILITIES.name,
        id=what.identity,
        card=_CARDS.get(f"{name} {size}") or _CARDS.get(name, "") if gpus else "cpu",
        product=f"{first.get('Manufacturer', '')} {name} ({what.kind})".strip() if gpus else what.kind,
        count=sum(gpu.get("Count") or 0 for gpu in gpus),
        per_hour=price,
        currency=CAPABILITIES.currency,
        region=what.region,
        country=region.country if region else "",
        spot=what.zone is not None,
        vcpus=(kind.get("VCpuInfo") or {}).get("DefaultVCpus"),
        memory=None if memory is None else memory * MIB,
        disk=None,  # as much as is asked for, billed apart
        seen_at=now,
    )


def prices(products: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Dollars per hour by kind of machine, from products of the price list; the dearest where several are left."""
    found: dict[str, Decimal] = {}
    for product in products:
        told = (product.get("product") or {}).get("attributes") or {}
        # What was paid for ahead, or is sold in blocks of days, stands in the list with a price of nothing.
        if told.get("marketoption", "OnDemand") != "OnDemand":
            continue
        for term in ((product.get("terms") or {}).get("OnDemand") or {}).values():
            for rate in (term.get("priceDimensions") or {}).values():
                price = _amount((rate.get("pricePerUnit") or {}).get(CAPABILITIES.currency))
                if rate.get("unit") == "Hrs" and price and told.get("instanceType"):
                    found[told["instanceType"]] = max(price, found.get(told["instanceType"], Decimal(0)))
    return found


def _amount(text: object) -> Decimal | None:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return None


def machine(region: str, told: Mapping[str, Any], notice_at: float | None = None) -> Machine:
    """One instance. Its id is ours: `<region>/<instance>`."""
    word = str((told.get("State") or {}).get("Name", ""))
    tags = {tag.get("Key"): tag.get("Value") for tag in told.get("Tags") or ()}
    started = told.get("LaunchTime")
    reason = told.get("StateReason") or {}
    state, why = _STATES.get(word, MachineState.UNKNOWN), str(reason.get("Code") or "")
    over = state in (MachineState.GONE, MachineState.ENDING, MachineState.STOPPED)
    # EC2 ends by itself what does not come up.
    if state is MachineState.ENDING and (why in _FAILURES or (why.startswith("Server.") and why not in _TAKEN_BACK)):
        state = MachineState.FAILED
    return Machine(
        provider=CAPABILITIES.name,
        id=f"{region}/{told['InstanceId']}",
        state=state,
        word=word,
        run_id=run_id_of(machine_name(str(tags.get(TAG)))),
        address=told.get("PublicIpAddress") or None,
        port=22 if told.get("PublicIpAddress") else None,
        region=region,
        created_at=started.timestamp() if isinstance(started, datetime) else None,
        problem=str(reason.get("Message") or why) if over else "",
        notice_at=notice_at,
    )


def notice(requests: Iterable[Mapping[str, Any]]) -> float | None:
    """When a spot machine will be taken back, from its spot request."""
    for request in requests:
        status = request.get("Status") or {}
        at = status.get("UpdateTime")
        if status.get("Code") == "marked-for-termination" and isinstance(at, datetime):
            return at.timestamp() + _NOTICE
    return None


def leftover(region: str, tag: Mapping[str, Any]) -> Leftover | None:
    """From a row of DescribeTags; None where it is no kind of thing that is left over."""
    identity, run_id = str(tag["ResourceId"]), run_id_of(machine_name(str(tag.get("Value"))))
    kind = _KINDS.get(identity.partition("-")[0])
    if kind is None or run_id is None:
        return None
    note = f"tagged {TAG}={run_id} in {region}"
    return Leftover(CAPABILITIES.name, kind, f"{region}/{identity}", run_id, note, billed=kind in _BILLED)


def newest(images: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The image that was made last. Dates are ISO 8601 of one form, so their order is that of the text."""
    return max(images, key=lambda image: (str(image.get("CreationDate", "")), str(image["ImageId"])), default=None)


def tags(run_id: str, *kinds: str) -> list[dict[str, Any]]:
    """TagSpecifications for each kind of thing."""
    pairs = [{"Key": "Name", "Value": machine_name(run_id)}, {"Key": TAG, "Value": run_id}]
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]


def launch(order: Order, what: Wanted, image: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Parameters of RunInstances. The same order gives the same, so that ClientToken makes a repeat the same as once.

    Raises Failed `provider-refused` for a boot script that is too long.
    """
    root = str(image.get("RootDeviceName") or "/dev/sda1")
    sizes = [(mapping.get("Ebs") or {}).get("VolumeSize") or 0 for mapping in image.get("BlockDeviceMappings") or ()]
    least = max([-(-(order.disk or 0) // GIB), *sizes])
    size = {"VolumeSize": least} if least else {}  # with none given the volume gets that of the image
    spot = {
        "MarketType": "spot",
        # Without a price of our own the limit is that of a machine that is not spot, as AWS advises.
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
    kinds = ("instance", "volume", *(("spot-instances-request",) if what.zone else ()))
    return {
        "ClientToken": order.run_id,
        "ImageId": image["ImageId"],
        "InstanceType": what.kind,
        "MinCount": 1,
        "MaxCount": 1,
        "SecurityGroupIds": [group],
        "UserData": user_data(order.public_key, order.boot_script, order.time_limit),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
        "BlockDeviceMappings": [
            {
                "DeviceName": root,
                "Ebs": {"DeleteOnTermination": True, "Encrypted": True, "VolumeType": "gp3", **size},
            }
        ],
        "TagSpecifications": tags(order.run_id, *kinds),
        **({"InstanceMarketOptions": spot, "Placement": {"AvailabilityZone": what.zone}} if what.zone else {}),
    }
