"""One host of the lab for the tests of this folder, prepared once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent.hosted import Hosted
from tests.lab.fixtures import lab, machine, machines
from tests.lab.lab import Lab

__all__ = ["hosted", "lab", "machine", "machines"]


@pytest.fixture(scope="session")
def hosted(lab: Lab) -> Iterator[Hosted]:
    """A host with the agent. Each test starts processes of names of its own there."""
    machine = lab.borrow()[0]
    made = Hosted(machine)
    made.install()
    yield made
    lab.give_back([machine], spoiled=True)
