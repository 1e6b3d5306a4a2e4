"""Each file in `facts/` is what the probe printed on one machine, with what must be read out of it.

`# origin:` says where it comes from; `#=` the facts (a card and a disk by its name alone); `#!` checks and their state.
Adding a case is adding a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lyc.engines.preflight import preflight
from lyc.hosts.look.facts import parse
from lyc.hosts.look.sections import split
from lyc.records.host import CheckState, RemoteFacts

CASES = sorted((Path(__file__).parent / "facts").glob("*.txt"))
URLS = ("https://pypi.org/simple", "https://huggingface.co")
SENT, RECEIVED = 1783501950.0, 1783501951.5


def read(path: Path) -> tuple[RemoteFacts, dict[str, Any], dict[str, str]]:
    """(facts, those expected, checks expected)."""
    text = path.read_text(encoding="utf-8")
    expected = {mark: json.loads(line[2:]) for line in text.splitlines()[:3] if (mark := line[:2]) in ("#=", "#!")}
    assert text.startswith("# origin: ")
    return parse(split(text, "case"), URLS, sent=SENT, received=RECEIVED), expected["#="], expected["#!"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_facts(path: Path) -> None:
    facts, expected, _ = read(path)
    found: dict[str, Any] = {name: getattr(facts, name) for name in expected}
    for name, value in found.items():
        if name == "accelerators":
            found[name] = [card.name for card in value]
        elif name == "disks":
            found[name] = [disk.path for disk in value]
        elif isinstance(value, tuple):
            found[name] = list(value)
    assert found == expected


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_checks(path: Path) -> None:
    facts, _, expected = read(path)
    checks = preflight("gpu1", facts)
    found = {check.name: check.state.value for check in checks}
    assert {name: found.get(name) for name in expected} == expected
    order = [list(CheckState).index(check.state) for check in checks]
    assert order == sorted(order)
    for check in checks:
        assert check.found
        assert check.why
        assert "None" not in check.found + check.why + check.remedy
        assert bool(check.remedy) == (check.state is not CheckState.PASSED), check
    assert len(found) == len(checks), "two checks of one name"
