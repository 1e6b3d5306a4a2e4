"""In which country the parts of an endpoint stand that hold prompts, weights or logs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lyc.errors import NoFit
from lyc.renting.rules import Rules, refuse_place

AWS_COUNTRIES: Mapping[str, str] = {
    "eu-central-1": "DE", "eu-central-2": "CH", "eu-north-1": "SE", "eu-south-1": "IT", "eu-south-2": "ES",
    "eu-west-1": "IE", "eu-west-2": "GB", "eu-west-3": "FR",
}  # fmt: skip
"""https://docs.aws.amazon.com/general/latest/gr/rande.html"""
_SERVICES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), country, jurisdiction)
    for pattern, country, jurisdiction in (
        (r"s3\.fr-par\.scw\.cloud", "FR", "FR"),
        (r"s3\.nl-ams\.scw\.cloud", "NL", "FR"),
        (r"s3\.pl-waw\.scw\.cloud", "PL", "FR"),
        (r"(fsn1|nbg1)\.your-objectstorage\.com", "DE", "DE"),
        (r"hel1\.your-objectstorage\.com", "FI", "DE"),
        (r"s3\.(gra|rbx|sbg|eu-west-par)\.(io|perf)\.cloud\.ovh\.net", "FR", "FR"),
        (r"s3\.(de|eu-central-1)\.io\.cloud\.ovh\.net", "DE", "FR"),
        (r"s3\.waw\.io\.cloud\.ovh\.net", "PL", "FR"),
        (r"sos-(at-vie-[12])\.exo\.io", "AT", "CH"),
        (r"sos-(de-fra-1|de-muc-1)\.exo\.io", "DE", "CH"),
        (r"sos-(bg-sof-1)\.exo\.io", "BG", "CH"),
    )
)
"""Host name → country, and that of its owner, where the service's own documents say so."""


@dataclass(frozen=True, slots=True)
class Place:
    """kind: as an error names it. country, jurisdiction: ISO codes, empty = unknown. say: how to tell lyc of it."""

    kind: str
    country: str
    jurisdiction: str
    say: str = ""


def bucket(name: str, host: str | None, region: str | None, said: str) -> Place:
    """Where a bucket is. host: of the endpoint, None = Amazon's own. region: of AWS. said: the user's word for it."""
    kind = f"bucket {name}"
    if said:
        return Place(kind, said, said)
    if host is None:
        return Place(kind, AWS_COUNTRIES.get(region or "", ""), "US", "set AWS_REGION, or LYC_BUCKET_COUNTRY")
    for pattern, country, jurisdiction in _SERVICES:
        if pattern.fullmatch(host.lower()):
            return Place(kind, country, jurisdiction)
    return Place(kind, "", "", "say it: LYC_BUCKET_COUNTRY=DE")


def check(places: tuple[Place, ...], rules: Rules) -> None:
    """Raises NoFit `outside-residency` for the first that may not be, with the rest as detail."""
    found = [
        (place, reason)
        for place in places
        if (reason := refuse_place(place.kind, place.country, rules, jurisdiction=place.jurisdiction)) is not None
    ]
    if not found:
        return
    place, reason = found[0]
    raise NoFit(
        "outside-residency",
        f"the {place.kind} may not hold this deployment's data",
        why=reason.text,
        where="--residency" if rules.residency is not None else "--sovereign",
        hint=place.say if not place.country else "leave the rule out, or use another",
        detail=tuple(f"{other.kind}: {why.text}" for other, why in found[1:]),
    )
