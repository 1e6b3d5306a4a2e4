"""`lab`, `machine` and `machines` for a conftest: `from tests.lab.fixtures import lab, machine, machines`.

One lab serves the whole run, however many folders import this. Tests are skipped only where a lab is impossible, with
the reason; with `LYC_LAB_REQUIRED=1` that is a failure too, so that a run that must have them cannot pass without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.lab.lab import Lab, impossible
from tests.lab.machine import Machine

_LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab of this run."""
    stash = request.session.stash
    if _LAB not in stash:
        if why := impossible():
            (pytest.fail if os.environ.get("LYC_LAB_REQUIRED") else pytest.skip)(why)
        made = Lab()
        stash[_LAB] = made
        request.session.config.add_cleanup(made.close)
    return stash[_LAB]


@pytest.fixture
def machines(lab: Lab) -> Iterator[Callable[[int], list[Machine]]]:
    """Lends hosts for the length of a test. They come back as they were but for their files."""
    lent: list[Machine] = []

    def borrow(count: int) -> list[Machine]:
        got = lab.borrow(count)
        lent.extend(got)
        return got

    yield borrow
    lab.give_back(lent)


@pytest.fixture
def machine(machines: Callable[[int], list[Machine]]) -> Machine:
    """One host."""
    return machines(1)[0]
