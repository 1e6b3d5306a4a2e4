"""One host of the lab for the tests of this folder, prepared once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.agent.hosted import Hosted
from tests.lab.fixtures import lab, machine, machines
from tests.lab.lab import Lab

__all__ = ["hosted", "lab", "machine", "machines", "own_host"]


@contextlib.contextmanager
def installed(lab: Lab) -> Iterator[Hosted]:
    machine = lab.borrow()[0]
    made = Hosted(machine)
    made.install()
    yield made
    lab.give_back([machine], spoiled=True)


@pytest.fixture(scope="session")
def hosted(lab: Lab) -> Iterator[Hosted]:
    """A host with the agent. Each test starts processes of names of its own there."""
    with installed(lab) as made:
        yield made


@pytest.fixture
def own_host(lab: Lab) -> Iterator[Hosted]:
    """A host with the agent on which no other test has left anything."""
    with installed(lab) as made:
        yield made
