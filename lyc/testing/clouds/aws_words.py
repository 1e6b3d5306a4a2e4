"""How EC2 and the price list put things: errors, states, products. For the layer over moto."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Xml
from xml.sax.saxutils import escape

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import FakeMachine
from lyc.testing.clouds.server import Reply

SPACE = "http://ec2.amazonaws.com/doc/2016-11-15"
Xml.register_namespace("", SPACE)

NO_KINDS = f'<DescribeInstanceTypesResponse xmlns="{SPACE}"><instanceTypeSet/></DescribeInstanceTypesResponse>'.encode()

_STATES = {
    MachineState.CREATING: ("pending", 0),
    MachineState.RUNNING: ("running", 16),
    MachineState.ENDING: ("shutting-down", 32),
    MachineState.FAILED: ("shutting-down", 32),  # EC2 ends by itself what does not come up
    MachineState.GONE: ("terminated", 48),
    MachineState.STOPPED: ("stopped", 80),
    MachineState.UNKNOWN: ("hibernating", 99),
}
_CODES = {
    400: "InvalidParameterValue",
    401: "AuthFailure",
    403: "UnauthorizedOperation",
    404: "InvalidAction",
    429: "RequestLimitExceeded",
    500: "InternalError",
    503: "Unavailable",
}


def refusal(code: str, message: str) -> bytes:
    """Body of an error, which botocore reads for EC2 and STS alike."""
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>'
    )
    return text.encode()


def failure(status: int, message: str) -> bytes:
    """The error that AWS gives with a status, when it is about nothing in particular."""
    return refusal(_CODES.get(status, "InternalError" if status >= 500 else "InvalidRequest"), message)


def refused(status: int, code: str, message: str = "on purpose") -> Reply:
    """An error as an answer."""
    return Reply(status, refusal(code, message), {"content-type": "text/xml"})


def tag(name: str) -> str:
    """A name of an element, with its namespace."""
    return f"{{{SPACE}}}{name}"


def items(root: Xml.Element, within: str) -> Iterator[tuple[Xml.Element, Xml.Element]]:
    """Each `item` of each list of this name, with the list."""
    for group in root.iter(tag(within)):
        for item in list(group.findall(tag("item"))):
            yield group, item


def text(item: Xml.Element, name: str) -> str:
    """A child's text; empty where there is none."""
    return item.findtext(tag(name)) or ""


def put(item: Xml.Element, name: str, value: str | None) -> Xml.Element | None:
    """Set a child's text, None = take it away."""
    child = item.find(tag(name))
    if value is None:
        if child is not None:
            item.remove(child)
        return None
    if child is None:
        child = Xml.SubElement(item, tag(name))
    child.text = value
    return child


def spot_request(machine: FakeMachine) -> str | None:
    """Id of the request that a spot machine came of."""
    return f"sir-{machine.id[-8:]}" if "/spot/" in machine.offer else None


def show(item: Xml.Element, machine: FakeMachine) -> None:
    """Make moto's instance, which runs at once and for ever, tell what the cloud knows of the machine."""
    word, number = _STATES[machine.state]
    state = item.find(tag("instanceState"))
    if state is not None:
        put(state, "name", machine.word if machine.word and machine.alive else word)
        put(state, "code", str(number))
    tags = item.find(tag("tagSet"))
    for pair in tags if tags is not None and machine.run_id else ():
        shown = {"lyc-run": machine.run_id, "Name": machine.name}.get(text(pair, "key"))
        put(pair, "value", shown or text(pair, "value"))
    put(item, "ipAddress", machine.address.host if machine.address else None)
    put(item, "dnsName", None)
    put(item, "spotInstanceRequestId", spot_request(machine))
    reason = item.find(tag("stateReason"))
    if machine.problem and reason is None:
        reason = Xml.SubElement(item, tag("stateReason"))
    if machine.problem and reason is not None:
        put(reason, "code", "Server.InternalError")
        put(reason, "message", machine.problem)


def products(prices: Mapping[tuple[str, str], str]) -> Iterator[dict[str, Any]]:
    """The price list: (region, kind) → dollars an hour, among what must not be taken for it."""
    for number, ((region, kind), price) in enumerate(sorted(prices.items())):
        plain = {
            "instanceType": kind, "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared",
            "preInstalledSw": "NA", "capacitystatus": "Used", "marketoption": "OnDemand",
        }  # fmt: skip
        yield _product(f"SKU{number}A", plain, price)
        yield _product(f"SKU{number}B", {**plain, "operatingSystem": "Windows"}, "999.0")
        yield _product(f"SKU{number}C", {**plain, "tenancy": "Dedicated"}, "998.0")
        yield _product(f"SKU{number}D", {**plain, "capacitystatus": "AllocatedCapacityReservation"}, "0.0")
        yield _product(f"SKU{number}E", {**plain, "marketoption": "CapacityBlock"}, "997.0")


def _product(sku: str, attributes: Mapping[str, str], price: str) -> dict[str, Any]:
    rate = {"unit": "Hrs", "rateCode": f"{sku}.T.R", "pricePerUnit": {"USD": price}}
    terms = {f"{sku}.T": {"priceDimensions": {f"{sku}.T.R": rate}, "sku": sku, "offerTermCode": "T"}}
    return {
        "product": {"productFamily": "Compute Instance", "attributes": dict(attributes), "sku": sku},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": terms},
    }


def matching(rows: Iterable[Mapping[str, Any]], filters: Sequence[Mapping[str, str]]) -> list[str]:
    """GetProducts: the products that pass every filter, each as a text of JSON."""
    return [json.dumps(row) for row in rows if all(_passes(row["product"]["attributes"], one) for one in filters)]


def _passes(attributes: Mapping[str, str], one: Mapping[str, str]) -> bool:
    value = attributes.get(one["Field"])
    if one["Type"] == "ANY_OF":
        return value in one["Value"].split(",")
    if one["Type"] in ("TERM_MATCH", "EQUALS"):
        return value == one["Value"]
    raise AssertionError(f"a filter of type {one['Type']} is not understood here")
