"""Where prompts and weights must stay: `eu`, `eea`, or countries by their two letters (ISO 3166)."""

from __future__ import annotations

import re

from lyc.errors import UsageError

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
EEA = EU | {"IS", "LI", "NO"}
ANY_OF_EU = "EU"
"""As a country: whoever names it says no more than that. It is in the EU, but in no single country."""
_REGIONS = {"eu": EU | {ANY_OF_EU}, "eea": EEA | {ANY_OF_EU}}


def country_code(text: str) -> str | None:
    """`fi` → `FI`; None where it is not the two letters of a country."""
    word = text.strip().upper()
    return word if len(word) == 2 and word.isascii() and word.isalpha() else None


def parse_residency(text: str, *, where: str = "--residency") -> frozenset[str]:
    """`eu`, `eea`, or countries such as `de,fr` → the countries that will do. Raises UsageError `unknown-residency`."""
    countries: set[str] = set()
    for part in text.lower().split(","):
        word = part.strip()
        if word not in _REGIONS and not re.fullmatch(r"[a-z]{2}", word):
            raise UsageError(
                "unknown-residency",
                f"{part.strip()!r} is neither eu, eea nor a country",
                where=where,
                hint="write --residency eu, or countries by their two letters: --residency de,fr",
            )
        countries |= _REGIONS.get(word, {word.upper()})
    return frozenset(countries)


def show_residency(countries: frozenset[str]) -> str:
    """As a person reads it: `the EU`, `the EEA`, `DE, FR`; `nowhere` for none."""
    for name, region in _REGIONS.items():
        if countries == region:
            return f"the {name.upper()}"
    return ", ".join(sorted(countries)) or "nowhere"
