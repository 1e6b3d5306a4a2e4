"""The activator ends, is killed, is not there; Envoy and its routes change. What waits is not lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lyc.errors import Failed
from lyc.gateway.activator import Activator
from tests.gateway.lone_activator import Hopeful
from tests.gateway.rig import DEADLINE, Rig, StandIn, until, until_async
from tests.gateway.waker import Start, ask, error, held, one_replica

pytestmark = pytest.mark.anyio
CHAT = "/alpha/v1/chat/completions"


@pytest.fixture
def lone(rig: Rig) -> subprocess.Popen[bytes]:
    """An activator in a process of its own, behind which nothing wakes."""
    rig.activator = str(rig.home / "run" / "activator.sock")
    argv = [sys.executable, "-m", "tests.gateway.lone_activator", rig.activator]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    rig.others.append(process)
    assert process.stdout
    assert process.stdout.readline() == b"listens\n"
    process.stdout.close()
    rig.start(alpha=[], beta=[])
    return process


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_restart_loses_no_request_that_waits(
    rig: Rig, lone: subprocess.Popen[bytes], start: Start, end: signal.Signals
) -> None:
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(20)]
        await until_async(lambda: rig.at_activator() == 20, "all are held")
        lone.send_signal(end)
        lone.wait(DEADLINE)
        await asyncio.sleep(1.5)  # as long as a controller takes
        await asyncio.to_thread(start, one_replica(rig))
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * 20


async def test_without_a_controller_the_answer_is_the_gateways_own(rig: Rig) -> None:
    rig.activator = str(rig.home / "run" / "nobody.sock")
    rig.start(alpha=[], beta=[])
    answer = await asyncio.to_thread(rig.chat)
    assert (answer.status_code, error(answer)["code"], answer.headers["retry-after"]) == (503, "no_replica_ready", "5")
    hasty = await asyncio.to_thread(rig.chat_with, {"X-Lyc-Wake-Timeout": "0"})
    assert (hasty.status_code, error(hasty)["code"]) == (503, "no_replica_ready")
    line = until(lambda: (got := rig.logged()) and len(got) == 2 and got, "both are logged")
    assert line[1]["attempts"] < line[0]["attempts"]


async def test_without_a_controller_replicas_go_on(rig: Rig, lone: subprocess.Popen[bytes]) -> None:
    engines = [rig.stand_in(f"alpha-1-{name}") for name in "ab"]
    rig.apply(alpha=[engine.endpoint for engine in engines], beta=[])
    rig.wait_healthy("alpha-1-a", "alpha-1-b")
    lone.kill()
    lone.wait(DEADLINE)
    assert {(await asyncio.to_thread(rig.chat)).status_code for _ in range(10)} == {200}
    engines[0].kill()
    assert {(await asyncio.to_thread(rig.chat)).status_code for _ in range(20)} == {200}


async def test_envoy_killed_ends_what_waits_and_the_next_one_holds(rig: Rig, start: Start) -> None:
    starter = start()
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(5)]
        await held(starter, 5)
        assert rig.envoy
        rig.envoy.kill()
        rig.envoy.wait(DEADLINE)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {httpx.RemoteProtocolError, httpx.ReadError}
    await held(starter, 0)
    rig.launch(rig.config(alpha=[], beta=[]))
    until(lambda: rig.gateway.status().state == "running", "the gateway runs")
    again = asyncio.create_task(asyncio.to_thread(rig.chat))
    await held(starter, 1)
    one_replica(rig)()
    assert (await again).status_code == 200


async def test_activator_comes_to_a_gateway_that_serves(rig: Rig, start: Start, alpha: StandIn) -> None:
    alpha.tell(interval=0.02)
    async with rig.client() as client:
        running = [asyncio.create_task(rig.stream(client, 100)) for _ in range(10)]
        await until_async(lambda: (rig.gateway.status().active or {}).get("alpha-1-a") == 10, "all streams run")
        listener = (rig.gateway.layout.files / "lds.json").read_text()
        starter = start()
        await asyncio.to_thread(rig.apply, alpha=[alpha.draining], beta=[])
        late = asyncio.create_task(rig.stream(client, 2))
        await held(starter, 1)
        assert (rig.gateway.layout.files / "lds.json").read_text() == listener
        outcomes = await asyncio.gather(*running)
        assert [outcome.text[-200:] for outcome in outcomes if not outcome.complete] == []
        await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint], beta=[])
        assert (await late).complete


async def test_endpoints_come_and_go_while_requests_wait(rig: Rig, start: Start) -> None:
    starter = start()
    never = rig.stand_in("alpha-1-x", "--accept-only")
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(5)]
        await held(starter, 5)
        for turn in range(6):
            await asyncio.to_thread(rig.apply, alpha=[never.endpoint] if turn % 2 else [], beta=[])
        assert starter.activator.held() == {"alpha": 5}
        one_replica(rig)()
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * 5


async def test_one_well_replica_among_many_unwell_takes_all(rig: Rig, start: Start) -> None:
    starter = start()
    engines = [rig.stand_in(f"alpha-1-{name}", health=200 if name == "a" else 503) for name in "abcde"]
    rig.apply(alpha=[engine.endpoint for engine in engines], beta=[])
    rig.wait_healthy("alpha-1-a")
    assert {rig.chat().status_code for _ in range(60)} == {200}
    assert starter.activator.arrived() == {}


def test_its_socket_is_its_owners_alone_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.sock"
    activator = Activator(path, Hopeful())
    activator.start()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    activator.close()
    activator.close()
    assert not path.exists()
    activator.changed("alpha")  # nobody is there, and nothing happens


def test_a_stale_socket_is_replaced_and_an_impossible_one_explained(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("left behind")
    activator = Activator(path, Hopeful())
    activator.start()
    activator.close()
    with pytest.raises(Failed) as raised:
        Activator(tmp_path / ("x" * 200), Hopeful()).start()
    assert (raised.value.ref, raised.value.hint) == ("activator-not-listening", "set LYC_HOME to a shorter path")


def test_who_is_not_envoy_gets_nothing(rig: Rig, start: Start) -> None:
    starter = start()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(starter.path)), base_url="http://activator") as client:
        assert client.get("/health").status_code == 200
        assert client.post("/v1/chat/completions").status_code == 404
    assert starter.asked == {}
