"""The tables of docs/providers.md, from what each provider says of itself. To renew: python -m tests.providers.table"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path

from lyc.ports import ProviderKind
from lyc.records.rental import Capabilities

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
SPANS = {1: "second", 60: "minute", 3600: "hour"}


def kinds() -> Mapping[str, ProviderKind]:
    return {entry.name: entry.load() for entry in sorted(entry_points(group="lyc.providers"))}


def tables() -> Mapping[str, str]:
    """By the name that the page marks the place with."""
    able = [kind.capabilities for kind in kinds().values()]
    return {"abilities": _abilities(able), "accounts": _accounts(able)}


def filled(page: str) -> str:
    """The page with every table as it is now."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        found = re.search(re.escape(begin) + ".*?" + re.escape(end), page, re.DOTALL)
        assert found is not None, f"the page has no place for {name}"
        page = page[: found.start()] + begin + "\n" + table + "\n" + end + page[found.end() :]
    return page


def _abilities(able: Iterable[Capabilities]) -> str:
    head = (
        "",
        "owner, under whose law",
        "machines in",
        "ends by itself",
        "tags",
        "key",
        "boot script",
        "spot",
        "bills",
    )
    return _table(head, [
        (
            f"**{one.title}** `{one.name}`",
            f"{one.owner or 'unknown'}, {one.jurisdiction or 'unknown'}",
            " ".join(sorted({region.country for region in one.regions.values() if region.country})) or "unknown",
            *("yes" if on else "–" for on in (one.time_limit, one.tags, one.idempotent, one.boot_script, one.spot)),
            f"by {_span(one.granularity)}" + (f", {one.minimum} s at least" if one.minimum else ""),
        )
        for one in able
    ])  # fmt: skip


def _accounts(able: Iterable[Capabilities]) -> str:
    return _table(("", "variable", "what it is"), [
        (
            f"[{one.title}]({one.credentials_page})" if not number else "",
            f"`{row.env}`",
            row.help + ("" if row.required else " (optional)"),
        )
        for one in able
        for number, row in enumerate(one.credentials)
    ])  # fmt: skip


def _span(seconds: int) -> str:
    """The one, or so many of a smaller one: `the hour`, `10 minutes`."""
    size = max(size for size in SPANS if seconds % size == 0)
    return f"the {SPANS[size]}" if seconds == size else f"{seconds // size} {SPANS[size]}s"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
