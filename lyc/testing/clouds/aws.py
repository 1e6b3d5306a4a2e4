"""AWS in tests: a real moto server, and before it what moto lacks.

moto keeps instances, tags, groups, volumes and keys, and finds them by filter. The layer adds ClientToken, capacity,
the price list, spot prices, states that take time, addresses where something answers, credentials that may be wrong,
and every fault of `faults`. Offers are `<region>/<kind>` and `<region>/<kind>/spot/<zone>`.

    with moto.start() as server, serve(app(AwsCloud(server))[0]) as endpoint: …
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

from lyc.testing.clouds import aws_words as words
from lyc.testing.clouds.aws_cloud import KEY_ID, REGIONS, AwsCloud
from lyc.testing.clouds.core import Address, FakeMachine, NoSuchOffer
from lyc.testing.clouds.moto import Answer
from lyc.testing.clouds.server import App, Reply, Request, Route

PRICES = {"g5.xlarge": "1.2580000000", "m7i.4xlarge": "0.9660000000", "g6.xlarge": "0.9330000000",
          "g6e.12xlarge": "13.1420000000", "p5.48xlarge": "63.2960000000"}  # fmt: skip
SPOT_PRICE = "0.5123"

_OPS = {
    "DescribeInstanceTypes": "offers", "DescribeSpotPriceHistory": "offers", "GetProducts": "offers",
    "RunInstances": "create", "TerminateInstances": "terminate", "DescribeTags": "leftovers",
    "DeleteVolume": "remove", "ReleaseAddress": "remove", "DeleteSecurityGroup": "remove", "DeleteKeyPair": "remove",
    "GetCallerIdentity": "account", "DescribeRegions": "regions",
}  # fmt: skip
_MADE = {"CreateSecurityGroup": ("group", "groupId", "GroupName")}
_GONE = {"DeleteVolume": "VolumeId", "ReleaseAddress": "AllocationId", "DeleteSecurityGroup": "GroupId",
         "DeleteKeyPair": "KeyPairId"}  # fmt: skip


class Layer:
    """Handler of every request. expired: the credential was good once. page: rows of a page at most."""

    def __init__(self, cloud: AwsCloud, regions: tuple[str, ...], page: int | None) -> None:
        self.cloud = cloud
        self.regions = regions
        self.page = page
        self.expired = False
        self._tokens: dict[tuple[str, str], tuple[dict[str, str], str, bytes]] = {}

    def guard(self, asked: Request) -> Reply | None:
        """A refusal of a credential that is not good."""
        if f"Credential={KEY_ID}/" not in asked.headers.get("authorization", ""):
            return words.refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        return words.refused(400, "RequestExpired", "Request has expired.") if self.expired else None

    def handle(self, asked: Request) -> Reply:
        """What is moto's to answer goes there; what moto lacks or would answer too plainly is answered here."""
        action, region = _action(asked), _region(asked)
        own: Mapping[str, Callable[[Request, str], Reply]] = {
            "DescribeRegions": self._regions,
            "GetProducts": self._products,
            "RunInstances": self._run,
            "DescribeInstanceTypes": self._kinds,
            "DescribeSpotPriceHistory": self._spot,
            "DescribeSpotInstanceRequests": self._spot_requests,
        }
        if action in own:
            return own[action](asked, region)
        params: dict[str, str] = dict(asked.body)
        if held := self._held(action, params):
            return held
        if action == "DescribeImages":
            answer = self.cloud.moto.send_once(urlencode(params).encode(), _forwarded(asked), region)
            return self._told(action, params, region, answer)
        if params.get("Filter.1.Name") == "client-token":  # which moto keeps and does not filter by
            known = self._tokens.get((region, params["Filter.1.Value.1"]))
            params |= {"Filter.1.Name": "instance-id", "Filter.1.Value.1": known[1].rpartition("/")[2] if known else ""}
        if self.page is not None and "MaxResults" in params:
            params["MaxResults"] = str(min(self.page, int(params["MaxResults"])))
        answer = self.cloud.moto.send(urlencode(params).encode(), _forwarded(asked))
        return self._told(action, params, region, answer)

    def _told(self, action: str, params: Mapping[str, str], region: str, answer: Answer) -> Reply:
        """moto's answer, after what it means has come to pass here too."""
        if answer.status != 200 or "xml" not in answer.kind or action == "GetCallerIdentity":
            return Reply(answer.status, answer.body, {"content-type": answer.kind or "text/xml"})
        root = Xml.fromstring(answer.body)  # noqa: S314  (moto's)
        if action == "TerminateInstances":
            for key, value in params.items():
                if key.startswith("InstanceId."):
                    self.cloud.end(f"{region}/{value}")
        if action in _MADE:
            kind, key, name = _MADE[action]
            self.cloud.put(kind, params[name], identity=root.findtext(f".//{words.tag(key)}"), region=region)
        if action in _GONE:
            self.cloud.drop(params[_GONE[action]])
        for _, item in words.items(root, "instancesSet"):
            machine = self.cloud.machines.get(f"{region}/{words.text(item, 'instanceId')}")
            if machine is not None:
                words.show(item, machine)
        if action == "DescribeTags":  # moto keeps those of what is gone
            for rows, item in words.items(root, "tagSet"):
                if words.text(item, "resourceId") not in self.cloud.things:
                    rows.remove(item)
        return _xml(root)

    def _run(self, asked: Request, region: str) -> Reply:
        params = dict(asked.body)
        token = params.pop("ClientToken", "")
        if (region, token) in self._tokens:
            before, identity, body = self._tokens[region, token]
            if before != params:
                return words.refused(400, "IdempotentParameterMismatch")
            if not self.cloud.machines[identity].alive:
                return words.refused(400, "IdempotentInstanceTerminated")
            return self._told("RunInstances", params, region, Answer(200, body, "text/xml"))
        name = _tag_of(params, "Name")
        zone = params.get("Placement.AvailabilityZone")
        spot = f"/spot/{zone}" if params.get("InstanceMarketOptions.MarketType") == "spot" else ""
        offer = f"{region}/{params['InstanceType']}{spot}"
        script = base64.b64decode(params.get("UserData", "")).decode()
        try:
            machine = self.cloud.launch(name, offer, region, {**params, "UserData": script})
        except NoSuchOffer:
            return words.refused(400, "Unsupported", "Your requested instance type is not supported here.")
        answer = self.cloud.moto.send(urlencode({**params, "ClientToken": token}).encode(), _forwarded(asked))
        root = Xml.fromstring(answer.body)  # noqa: S314  (moto's)
        made = [item for _, item in words.items(root, "instancesSet")]
        self.cloud.machines.pop(machine.id)
        if answer.status != 200 or not made:
            self.cloud.ever.remove(machine)
            return Reply(answer.status, answer.body, {"content-type": "text/xml"})
        machine.id = f"{region}/{words.text(made[0], 'instanceId')}"
        self.cloud.machines[machine.id] = machine
        for _, disk in words.items(root, "blockDeviceMapping"):
            volume = disk.findtext(f"{words.tag('ebs')}/{words.tag('volumeId')}")
            self.cloud.put("volume", name, identity=volume, machine=machine.id, region=region)
        if token:
            self._tokens[region, token] = (params, machine.id, answer.body)
        return self._told("RunInstances", params, region, answer)

    def _held(self, action: str, params: Mapping[str, str]) -> Reply | None:
        """What may not be deleted, as a living machine has it."""
        if action not in ("DeleteVolume", "DeleteSecurityGroup"):
            return None
        thing = self.cloud.things.get(params.get(_GONE[action], ""))
        for machine in self.cloud.alive():
            mine = {value for key, value in machine.payload.items() if key.startswith("SecurityGroupId.")}
            if thing is not None and (thing.machine == machine.id or thing.id in mine):
                return words.refused(400, "VolumeInUse" if action == "DeleteVolume" else "DependencyViolation")
        return None

    def _regions(self, asked: Request, _region: str) -> Reply:
        patterns = [value for key, value in asked.body.items() if re.fullmatch(r"Filter\.1\.Value\.\d+", key)]
        root = Xml.Element(words.tag("DescribeRegionsResponse"))
        rows = Xml.SubElement(root, words.tag("regionInfo"))
        for name in self.regions:
            if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
                words.put(Xml.SubElement(rows, words.tag("item")), "regionName", name)
        return _xml(root)

    def _sold(self, region: str) -> list[str]:
        return sorted({offer.split("/")[1] for offer in self.cloud.capacity if offer.startswith(f"{region}/")})

    def _kinds(self, asked: Request, region: str) -> Reply:
        """moto's facts of the kinds that are sold here; asked by name, for moto knows no wildcards."""
        kinds = {f"InstanceType.{number}": kind for number, kind in enumerate(self._sold(region), 1)}
        body = {"Action": "DescribeInstanceTypes", "Version": asked.body["Version"], **kinds}
        if not kinds:
            return Reply(200, words.NO_KINDS, {"content-type": "text/xml"})
        answer = self.cloud.moto.send_once(urlencode(body).encode(), _forwarded(asked), region)
        return Reply(answer.status, answer.body, {"content-type": "text/xml"})

    def _spot(self, _asked: Request, region: str) -> Reply:
        root = Xml.Element(words.tag("DescribeSpotPriceHistoryResponse"))
        rows = Xml.SubElement(root, words.tag("spotPriceHistorySet"))
        for offer in sorted(self.cloud.capacity):
            if offer.startswith(f"{region}/") and "/spot/" in offer:
                _, kind, _, zone = offer.split("/")
                # The newest rules; the older one is what the price was when it last changed.
                for day, price in (("20", SPOT_PRICE), ("19", "0.4000")):
                    item = Xml.SubElement(rows, words.tag("item"))
                    for name, value in (
                        ("instanceType", kind), ("availabilityZone", zone), ("spotPrice", price),
                        ("productDescription", "Linux/UNIX"), ("timestamp", f"2026-11-{day}T00:00:00.000Z"),
                    ):  # fmt: skip
                        words.put(item, name, value)
        return _xml(root)

    def _spot_requests(self, asked: Request, region: str) -> Reply:
        """Of one machine; `marked_at` among a machine's data is when it was told that it will be taken back."""
        root = Xml.Element(words.tag("DescribeSpotInstanceRequestsResponse"))
        rows = Xml.SubElement(root, words.tag("spotInstanceRequestSet"))
        for machine in self.cloud.machines.values():
            if machine.region == region and words.spot_request(machine) == asked.body.get("Filter.1.Value.1"):
                marked = machine.data.get("marked_at")
                status = Xml.SubElement(Xml.SubElement(rows, words.tag("item")), words.tag("status"))
                words.put(status, "code", "marked-for-termination" if marked else "fulfilled")
                words.put(status, "updateTime", marked or "2026-11-20T00:00:00.000Z")
        return _xml(root)

    def _products(self, asked: Request, _region: str) -> Reply:
        sold = {(place, kind): PRICES[kind] for place in self.regions for kind in self._sold(place)}
        rows = words.matching(words.products(sold), asked.body["Filters"])
        start, size = int(asked.body.get("NextToken") or 0), min(self.page or 100, asked.body.get("MaxResults", 100))
        more = {"NextToken": str(start + size)} if start + size < len(rows) else {}
        body = json.dumps({"FormatVersion": "aws_v1", "PriceList": rows[start : start + size], **more})
        return Reply(200, body.encode(), {"content-type": "application/x-amz-json-1.1"})


def app(
    cloud: AwsCloud, *, regions: tuple[str, ...] = REGIONS, page: int | None = None, latency: float = 0.0
) -> tuple[App, Layer]:
    """The layer over a cloud's moto, to be served by `server.serve`. regions: those that are switched on."""
    layer = Layer(cloud, regions, page)
    routes = [Route(_op, "POST", "/", layer.handle)]
    return App(cloud, routes, error=words.failure, sold_out=_sold_out, guard=layer.guard, latency=latency), layer


def _sold_out(_asked: Request) -> Reply:
    return words.refused(500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")


def reachable(addresses: Mapping[str, str]) -> Callable[[FakeMachine], Address | None]:
    """A `boot` that gives a machine, by its name, the address of a host that really answers; None until it is there."""
    return lambda machine: Address(addresses[machine.name]) if machine.name in addresses else None


def _op(asked: Request) -> str:
    action = _action(asked)
    if action == "DescribeInstances":
        return "get" if "InstanceId.1" in asked.body else "list"
    return _OPS.get(action, action)


def action_of(body: object, headers: Mapping[str, str]) -> str:
    """What a request is for, as permissions name it: `RunInstances`."""
    told = body.get("Action", "") if isinstance(body, Mapping) else ""
    return headers.get("x-amz-target", "").rpartition(".")[2] or str(told)


def _action(asked: Request) -> str:
    return action_of(asked.body, asked.headers)


def _region(asked: Request) -> str:
    found = re.search(r"Credential=[^/]+/\d+/([\w-]+)/", asked.headers.get("authorization", ""))
    return found[1] if found else REGIONS[0]


def _forwarded(asked: Request) -> dict[str, str]:
    return {name: asked.headers[name] for name in ("authorization", "content-type") if name in asked.headers}


def _tag_of(params: Mapping[str, str], key: str) -> str:
    for name, value in params.items():
        if name.endswith(".Key") and value == key and name.startswith("TagSpecification."):
            return params[name.removesuffix("Key") + "Value"]
    return ""


def _xml(root: Xml.Element) -> Reply:
    return Reply(200, Xml.tostring(root, encoding="utf-8", xml_declaration=True), {"content-type": "text/xml"})
