"""The activator's side of HTTP/1.1, over a real unix socket: whatever comes, it goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lyc.gateway.activator import Activator
from lyc.gateway.front import ARRIVED, DEPLOYMENT, FINAL, REQUEST, RETRY_IN, TRY
from lyc.records.wake import Waking
from tests.gateway.rig import until_async

pytestmark = pytest.mark.anyio


class Says:
    """Says what it is told, and counts."""

    def __init__(self) -> None:
        self.waking: Waking | Exception = Waking("waking")
        self.asked = 0

    def wake(self, deployment: str) -> Waking:
        self.asked += 1
        if isinstance(self.waking, Exception):
            raise self.waking
        return self.waking


class Caller:
    """A connection to the activator, as Envoy's would be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, request: str = "r", tried: int = 1, body: bytes = b"{}", **headers: str) -> None:
        sent = {DEPLOYMENT: "alpha", REQUEST: request, TRY: str(tried), "content-length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
        self.writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


@pytest.fixture
def says() -> Says:
    return Says()


@pytest.fixture
async def activator(tmp_path: Path, says: Says) -> AsyncIterator[Activator]:
    made = Activator(tmp_path / "a.sock", says)
    made.start()
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
async def caller(tmp_path: Path, activator: Activator) -> AsyncIterator[Caller]:
    made = Caller(*await asyncio.open_unix_connection(str(tmp_path / "a.sock")))
    yield made
    made.writer.close()


async def test_a_connection_is_used_again_and_again(caller: Caller, says: Says) -> None:
    says.waking = Waking("ready", replica=frozenset({"alpha-1-a"}))
    for turn in range(5):
        caller.ask(str(turn), body=b"x" * turn * 1_000_000)
        status, headers, body = await caller.answer()
        assert status == 503
        assert FINAL not in headers  # so that Envoy sends it to the replica
        assert json.loads(body)["error"]["code"] == "replica_lost"


async def test_only_what_shall_be_tried_again_is(caller: Caller, says: Says, activator: Activator) -> None:
    says.waking = Waking("failed")
    caller.ask("one")
    assert FINAL in (await caller.answer())[1]
    says.waking = Waking("waking")
    caller.ask("two")
    await until_async(lambda: activator.held() == {"alpha": 1}, "it waits")
    closing = asyncio.create_task(asyncio.to_thread(activator.close))
    status, headers, _ = await caller.answer()
    await closing
    assert (status, headers[RETRY_IN]) == (503, "2")
    assert FINAL not in headers
    assert await caller.reader.read() == b""


async def test_third_return_is_the_last(caller: Caller, says: Says) -> None:
    says.waking = Waking("ready", replica=frozenset({"alpha-1-a"}))
    ends = []
    for tried in (1, 3, 5, 7):
        caller.ask("same", tried)
        ends.append(FINAL in (await caller.answer())[1])
    assert ends == [False, False, False, True]
    caller.ask("other", 2)  # a replica was lost before it came here: that one counts
    assert FINAL not in (await caller.answer())[1]


async def test_waker_that_fails_is_asked_again(caller: Caller, says: Says, activator: Activator) -> None:
    says.waking = RuntimeError("the store is locked")
    caller.ask()
    await until_async(lambda: says.asked >= 2, "it is asked again")
    assert activator.held() == {"alpha": 1}
    says.waking = Waking("ready", replica=frozenset({"alpha-1-a"}))
    activator.changed("alpha")
    assert (await caller.answer())[0] == 503


async def test_time_counts_from_the_gateway_and_not_from_here(caller: Caller, says: Says) -> None:
    says.waking = Waking("waking", timeout=600.0)
    caller.ask(**{ARRIVED: "1000.000"})
    status, _, body = await caller.answer()
    assert (status, json.loads(body)["error"]["code"]) == (503, "wake_timeout")
    says.waking = Waking("waking", timeout=0.3)
    caller.ask(**{ARRIVED: "99999999999"})  # a clock that was set back
    assert (await caller.answer())[0] == 503


async def test_nonsense_ends_its_own_connection_alone(tmp_path: Path, caller: Caller, says: Says) -> None:
    chance = random.Random(5)
    for nonsense in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(100_000), b"x" * 600_000):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "a.sock"))
        with contextlib.suppress(ConnectionError):  # it is cut off before all is read
            writer.write(nonsense)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
    says.waking = Waking("paused")
    caller.ask()
    assert (await caller.answer())[0] == 503


async def test_who_leaves_in_the_middle_of_a_body_leaves_nothing(
    tmp_path: Path, says: Says, activator: Activator
) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "a.sock"))
        writer.write(f"POST / HTTP/1.1\r\nhost: x\r\n{DEPLOYMENT}: alpha\r\ncontent-length: 1000\r\n\r\nxyz".encode())
        writer.close()
        await writer.wait_closed()
    assert (activator.held(), activator.arrived(), says.asked) == ({}, {}, 0)
