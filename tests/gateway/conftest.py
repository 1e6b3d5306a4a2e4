"""A gateway for each test, and nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.rig import Rig, StandIn, free_port
from tests.gateway.waker import Start, Starter


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig() -> Iterator[Rig]:
    home = Path(tempfile.mkdtemp(prefix="lyc-gw-"))  # short: a socket's path is at most 107 bytes
    made = Rig(home, free_port())
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(home)


@pytest.fixture
def alpha(rig: Rig) -> StandIn:
    """A stand-in that serves `alpha` behind a running gateway; `beta` exists and has no replica."""
    engine = rig.stand_in("alpha-1-a")
    rig.start(alpha=[engine.endpoint], beta=[])
    return engine


@pytest.fixture
def start(rig: Rig) -> Iterator[Start]:
    """Starts an activator, and Envoy (if it does not run) with no replica of `alpha` and `beta`."""
    made: list[Starter] = []

    def begin(wakes: Callable[[], object] = lambda: None, **said: object) -> Starter:
        starter = Starter(rig, wakes, **said)
        made.append(starter)
        rig.activator = str(starter.path)
        if rig.envoy is None:
            rig.start(alpha=[], beta=[])
        return starter.start()

    yield begin
    for starter in made:
        starter.close()
