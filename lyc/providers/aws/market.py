"""What EC2 sells in a region now: kinds of machines, the price list, and the prices of spot machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from lyc.providers.aws import codes
from lyc.providers.aws.api import HOME, Aws, where
from lyc.providers.aws.translate import CPU_KINDS, offers, prices, sold
from lyc.records.rental import Offer

_LONGEST_VALUE = 1024
"""Characters of a filter's value in the price list."""


def on_sale(aws: Aws, region: str, now: float) -> list[Offer]:
    """Every offer of a region. Raises what `lyc.ports.Provider` says."""
    families = [where("instance-type", "g*", "p*", *CPU_KINDS)]
    rows = aws.pages("ec2", region, "describe_instance_types", "InstanceTypes", size=100, Filters=families)
    kinds = [kind for kind in rows if sold(kind)]
    if not kinds:
        return []
    names = sorted(str(kind["InstanceType"]) for kind in kinds)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="lyc-aws-prices") as pool:
        listed = pool.submit(lambda: prices(_products(aws, region, names)))
        # From now on: the price that is in force, of each kind and zone.
        spot = list(aws.pages(
            "ec2", region, "describe_spot_price_history", "SpotPriceHistory",
            InstanceTypes=names, ProductDescriptions=["Linux/UNIX"], StartTime=datetime.fromtimestamp(now, UTC),
        ))  # fmt: skip
        return offers(region, kinds, listed.result(), spot, now)


def _products(aws: Aws, region: str, kinds: Sequence[str]) -> Iterator[Any]:
    """Products of the price list, which gives each as a text of JSON."""
    plain = {"regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA",
             "capacitystatus": "Used"}  # fmt: skip
    for value in joined(kinds, _LONGEST_VALUE):
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": text} for key, text in plain.items()]
        # Several values by commas, as AWS's own server of prices sends them: https://github.com/awslabs/mcp
        filters.append({"Type": "ANY_OF", "Field": "instanceType", "Value": value})
        for text in aws.pages(
            "pricing", HOME, "get_products", "PriceList", size=100, ServiceCode="AmazonEC2", Filters=filters
        ):
            try:
                yield json.loads(text)
            except ValueError:
                raise codes.odd("a product is not JSON", f"pricing get_products {region}") from None


def joined(parts: Sequence[str], longest: int) -> Iterator[str]:
    """The parts by commas, in texts of at most `longest` characters."""
    text = ""
    for part in parts:
        longer = f"{text},{part}" if text else part
        if len(longer) > longest:
            yield text
            longer = part
        text = longer
    if text:
        yield text
