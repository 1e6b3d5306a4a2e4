"""`lab`, `machine`, `machines` and `engine_machines` for a conftest: `from tests.lab.fixtures import lab, machine, …`.

One lab serves the whole run, however many folders import this. Tests are skipped only where a lab is impossible, with
the reason; with `LYC_LAB_REQUIRED=1` that is a failure too, so that a run that must have them cannot pass without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from lyc.engines.versions import pinned
from lyc.hosts.environment import UvInstaller
from lyc.spec.settings import load
from tests.lab import podman
from tests.lab.lab import Lab, impossible
from tests.lab.machine import Machine

ENGINES = "/var/lib/lyc/engines"
ENGINE_DISK = "16G"
"""Enough for every check of room; thin."""
_LAB = pytest.StashKey[Lab]()


def _cannot(why: str) -> NoReturn:
    (pytest.fail if os.environ.get("LYC_LAB_REQUIRED") else pytest.skip)(why)


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The lab of this run."""
    stash = request.session.stash
    if _LAB not in stash:
        if why := impossible():
            _cannot(why)
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


@pytest.fixture
def engine_machines(lab: Lab) -> Iterator[Callable[..., list[Machine]]]:
    """Lends hosts for the length of a test, bare but for a complete CPU engine and libnuma: `engine_machines(2)`, or
    `engine_machines(1, at=FOLDER)` where the environment is to lie elsewhere than below lyc's folder.

    The test is to mark itself `engine`, so that the engine is there. The hosts are not used again.
    """
    lent: list[Machine] = []

    def borrow(count: int, *, at: str | None = None) -> list[Machine]:
        got = lend_engines(lab, count, at=at)
        lent.extend(got)
        return got

    yield borrow
    lab.give_back(lent, spoiled=True)


def lend_engines(lab: Lab, count: int, *, at: str | None = None) -> list[Machine]:
    """What `engine_machines` lends, for as long as the caller likes; give them back as spoiled."""
    return lab.borrow(count, over=(engine(lab, at),), disk=ENGINE_DISK)


def engine(lab: Lab, at: str | None) -> Path:
    """The layer with the engine for the CPU. at: where in it; None = below lyc's folder, where lyc would put it."""
    build = pinned(on_cpu=True)
    bin_dir = UvInstaller(load(os.environ).engines, os.environ).bin_dir(build)
    assert bin_dir, "the engine for the CPU is not installed here: python3 tests/run.py installs it"
    env = bin_dir.parent
    try:
        return lab.engine(env, at or f"{ENGINES}/{build.id}/{env.name}")
    except RuntimeError as error:
        _cannot(str(error))


@pytest.fixture
def container_machines(lab: Lab) -> Iterator[Callable[[int], list[Machine]]]:
    """As `engine_machines`, but with Podman and no environment: the engine is in the image `podman.IMAGE`, which
    each host has already. Takes seconds for each host.
    """
    lent: list[Machine] = []

    def borrow(count: int) -> list[Machine]:
        over = (engine(lab, podman.ENGINE), podman.layer())
        got = lab.borrow(count, over=over, disk=ENGINE_DISK, plain=(podman.STORE,))
        lent.extend(got)
        for machine in got:
            podman.engine_image(machine)
        return got

    yield borrow
    lab.give_back(lent, spoiled=True)
