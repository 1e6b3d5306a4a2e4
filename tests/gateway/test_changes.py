"""What changes while Envoy serves: nothing that runs is cut, and nothing new goes where it should not."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time
from collections import Counter

import httpx
import pytest

from lyc.gateway.admin import Admin
from tests.gateway.rig import Outcome, Rig, StandIn, free_port, until, until_async

pytestmark = pytest.mark.anyio

PACE = 0.02
TOKENS = 100  # so a stream lasts about two seconds


def two(rig: Rig) -> tuple[StandIn, StandIn]:
    first, second = (rig.stand_in(f"alpha-1-{name}", interval=PACE) for name in "ab")
    rig.start(alpha=[first.endpoint, second.endpoint], beta=[])
    return first, second


def replicas_of(rig: Rig) -> Counter[str]:
    """Completed requests per replica, by the access log."""
    return Counter(line["replica"] for line in rig.logged(status=200) if line["replica"])


async def streams(rig: Rig, client: httpx.AsyncClient, count: int) -> list[asyncio.Task[Outcome]]:
    """Streams that have all begun when this returns."""
    tasks = [asyncio.create_task(rig.stream(client, TOKENS)) for _ in range(count)]
    await until_async(lambda: sum((rig.gateway.status().active or {}).values()) == count, "all streams have begun")
    return tasks


def all_complete(outcomes: list[Outcome]) -> bool:
    assert [outcome.text[-300:] for outcome in outcomes if not outcome.complete] == []
    return True


async def test_endpoints_come_and_go_under_streams(rig: Rig) -> None:
    first, second = two(rig)
    async with rig.client() as client:
        running = await streams(rig, client, 40)
        for turn in range(30):
            sets = ([first], [second], [first, second], [])
            await asyncio.to_thread(rig.apply, alpha=[engine.endpoint for engine in sets[turn % 4]], beta=[])
        await asyncio.to_thread(rig.apply, alpha=[first.endpoint], beta=[])
        assert all_complete(await asyncio.gather(*running))


async def test_weights_share_out_streams_that_run_together(rig: Rig) -> None:
    """A canary gets its part of the requests however many run at once, and not more because it has few."""
    first, second = two(rig)
    shares = [dataclasses.replace(first.endpoint, weight=90), dataclasses.replace(second.endpoint, weight=10)]
    await asyncio.to_thread(rig.apply, alpha=shares, beta=[])
    async with rig.client() as client:
        running = await streams(rig, client, 200)
        counts = (first.seen()["requests"], second.seen()["requests"])
        assert all_complete(await asyncio.gather(*running))
    assert sum(counts) == 200
    assert 12 <= counts[1] <= 28


async def test_draining_finishes_what_runs_and_takes_nothing_new(rig: Rig) -> None:
    first, second = two(rig)
    async with rig.client() as client:
        running = await streams(rig, client, 20)
        before = second.seen()["requests"]
        assert before > 0
        await asyncio.to_thread(rig.apply, alpha=[first.endpoint, second.draining], beta=[])
        status = rig.gateway.status()
        assert status.healthy == {"alpha-1-a"}
        assert (status.active or {})["alpha-1-b"] == before  # running streams of a draining replica are still counted
        answers = await asyncio.gather(*(rig.stream(client, 1) for _ in range(20)))
        assert all_complete(answers)
        assert all_complete(await asyncio.gather(*running))
        assert second.seen()["requests"] == before
        await until_async(lambda: (rig.gateway.status().active or {})["alpha-1-b"] == 0, "the drained replica is idle")


async def test_draining_replica_can_come_back(rig: Rig) -> None:
    first = rig.stand_in("alpha-1-a", interval=PACE)
    rig.start(alpha=[first.endpoint])
    async with rig.client() as client:
        running = await streams(rig, client, 3)
        await asyncio.to_thread(rig.apply, alpha=[first.draining])
        assert (await asyncio.to_thread(rig.chat)).status_code == 503
        await asyncio.to_thread(rig.apply, alpha=[first.endpoint])
        answer = await until_async(lambda: (got := rig.chat()).status_code == 200 and got, "it takes requests again")
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert all_complete(await asyncio.gather(*running))


async def test_sole_replica_drains_and_the_next_caller_gets_503(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    async with rig.client() as client:
        running = await streams(rig, client, 5)
        await asyncio.to_thread(rig.apply, alpha=[alpha.draining], beta=[])
        answer = await asyncio.to_thread(rig.chat)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == "no_replica_ready"
        assert all_complete(await asyncio.gather(*running))


async def test_deployments_come_and_go_under_streams(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    other = rig.stand_in("gamma-1-a")
    async with rig.client() as client:
        running = await streams(rig, client, 20)
        key = rig.new_key("gamma")
        for _ in range(5):
            await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint], beta=[], gamma=[other.endpoint])
            answer = await until_async(
                lambda: (got := rig.chat(key, "gamma")).status_code == 200 and got, "the new deployment answers"
            )
            assert answer.json()["usage"]["completion_tokens"] == 4
            await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint])
            gone = await asyncio.to_thread(rig.chat, key, "gamma")
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
        assert not (rig.gateway.layout.files / "eds-gamma.json").exists()
        assert all_complete(await asyncio.gather(*running))


async def test_removed_deployment_lets_its_streams_end(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    async with rig.client() as client:
        running = await streams(rig, client, 10)
        await asyncio.to_thread(rig.apply, beta=[])
        assert (await asyncio.to_thread(rig.chat)).status_code == 404
        assert all_complete(await asyncio.gather(*running))


async def test_keys_change_under_streams(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    revoked = rig.keys["alpha"]
    kept = rig.new_key("alpha")
    rig.apply(alpha=[alpha.endpoint], beta=[])
    until(lambda: rig.call("GET", "/alpha/v1/models", kept).status_code == 200, "the new key opens")
    async with rig.client() as client:
        running = await streams(rig, client, 20)
        for _ in range(20):
            rig.new_key("alpha")
            await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint], beta=[])
        rig.entries = [entry for entry in rig.entries if entry.id != "key-alpha-0"]
        await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint], beta=[])
        await until_async(lambda: rig.chat(revoked).status_code == 401, "the old key is refused")
        assert (await asyncio.to_thread(rig.chat, kept)).status_code == 200
        assert all_complete(await asyncio.gather(*running))


async def test_engine_key_changes_under_streams(rig: Rig, alpha: StandIn) -> None:
    """A new engine key comes with new replicas; what runs on old ones is not touched."""
    alpha.tell(interval=PACE)
    async with rig.client() as client:
        running = await streams(rig, client, 10)
        rig.engine_key = "another-%-key"
        other = await asyncio.to_thread(rig.stand_in, "alpha-2-a")
        await asyncio.to_thread(rig.apply, alpha=[alpha.draining, other.endpoint], beta=[])
        answer = await until_async(lambda: (got := rig.chat()).status_code == 200 and got, "the new release answers")
        assert answer.status_code == 200
        assert other.seen()["last_headers"]["authorization"] == "Bearer another-%-key"
        assert all_complete(await asyncio.gather(*running))


async def test_killed_replica_costs_no_request(rig: Rig) -> None:
    """kill -9 of one of two replicas under load: whatever had not begun to answer is answered by the other."""
    first, second = two(rig)
    for engine in (first, second):
        engine.tell(interval=0.005)
    answers: list[int] = []
    end = time.monotonic() + 2.5

    async def load(client: httpx.AsyncClient) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "max_tokens": 3}
        while time.monotonic() < end:
            answer = await client.post("/alpha/v1/chat/completions", json=body, headers=rig.headers())
            answers.append(answer.status_code)

    async with rig.client() as client:
        workers = [asyncio.create_task(load(client)) for _ in range(12)]
        await until_async(lambda: second.seen()["requests"] > 20, "both replicas work")
        second.kill()
        await asyncio.gather(*workers)
    assert Counter(answers).keys() == {200}
    until(lambda: rig.gateway.status().healthy == {"alpha-1-a"}, "the dead replica is out of rotation")


async def test_replica_that_answers_503_is_passed_over(rig: Rig) -> None:
    first, second = two(rig)
    second.tell(answer=503)
    codes = Counter([(await asyncio.to_thread(rig.chat)).status_code for _ in range(20)])
    assert codes == {200: 20}
    first.tell(answer=503)  # nobody is left: the engine's own words pass
    answer = await asyncio.to_thread(rig.chat)
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "told to fail"


def test_unwell_replica_leaves_and_returns(rig: Rig) -> None:
    first, second = two(rig)
    second.tell(health=503)
    until(lambda: rig.gateway.status().healthy == {"alpha-1-a"}, "the unwell replica is out of rotation")
    second.tell(health=200)
    until(lambda: rig.gateway.status().healthy == {"alpha-1-a", "alpha-1-b"}, "the well replica is back")
    assert first.seen()["health_checks"] > 0


def test_replica_that_has_never_been_well_gets_nothing(rig: Rig) -> None:
    first = rig.stand_in("alpha-1-a")
    hung = rig.stand_in("alpha-1-b", "--accept-only")
    config = rig.config(alpha=[first.endpoint, hung.endpoint])
    rig.gateway.apply(config)
    rig.launch(config)
    rig.wait_healthy("alpha-1-a")
    assert {rig.chat().status_code for _ in range(20)} == {200}
    assert rig.gateway.status().healthy == {"alpha-1-a"}


@pytest.mark.slow
async def test_frozen_replica_is_condemned_late_and_its_streams_go_on(rig: Rig) -> None:
    """SIGSTOP: out of rotation after three checks of five seconds, and what ran there ends well after SIGCONT."""
    _, second = two(rig)
    async with rig.client() as client:
        running = await streams(rig, client, 10)
        begun = time.monotonic()
        second.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(3)  # busy for so long is no illness; the next line must still see it in rotation
            assert rig.gateway.status().healthy == {"alpha-1-a", "alpha-1-b"}
            await until_async(lambda: rig.gateway.status().healthy == {"alpha-1-a"}, "it is condemned", 40)
            assert time.monotonic() - begun > 10
            assert (await asyncio.to_thread(rig.chat)).status_code == 200
        finally:
            second.process.send_signal(signal.SIGCONT)
        assert all_complete(await asyncio.gather(*running))
    await until_async(lambda: rig.gateway.status().healthy == {"alpha-1-a", "alpha-1-b"}, "it is back")


def test_replica_that_starts_late_is_found(rig: Rig) -> None:
    late = rig.stand_in("alpha-1-a", "--load-delay", "1.5")
    rig.gateway.apply(rig.config(alpha=[late.endpoint]))
    rig.launch(rig.config(alpha=[late.endpoint]))
    until(lambda: rig.gateway.status().state == "running", "the gateway runs")
    assert rig.chat().status_code == 503
    until(lambda: rig.chat().status_code == 200, "it is found")


async def test_graceful_stop_lets_streams_end(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    assert rig.envoy
    async with rig.client() as client:
        running = await streams(rig, client, 10)
        rig.gateway.drain()
        await until_async(lambda: sum((rig.gateway.status().active or {}).values()) == 0, "nothing is in flight")
        assert all_complete(await asyncio.gather(*running))
    rig.envoy.send_signal(signal.SIGTERM)
    assert rig.envoy.wait(10) == 0
    assert rig.gateway.status().state in ("absent", "stopped")


async def test_host_or_port_can_change_and_old_streams_end(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=PACE)
    async with rig.client() as client:
        running = await streams(rig, client, 5)
        old, rig.port = rig.port, free_port()
        await asyncio.to_thread(rig.apply, alpha=[alpha.endpoint], beta=[])
        await until_async(lambda: _answers(rig), "the new port answers")
        assert old != rig.port
        assert all_complete(await asyncio.gather(*running))


def _answers(rig: Rig) -> bool:
    try:
        return rig.chat().status_code == 200
    except httpx.ConnectError:
        return False


def test_envoy_killed_and_started_again_serves_the_same(rig: Rig, alpha: StandIn) -> None:
    assert rig.envoy
    rig.envoy.kill()
    rig.envoy.wait()
    assert rig.gateway.status().state == "stopped"
    rig.apply(alpha=[alpha.endpoint], beta=[])  # with no Envoy there, it only writes
    rig.launch(rig.config(alpha=[alpha.endpoint], beta=[]))
    rig.wait_healthy("alpha-1-a")
    assert rig.chat().status_code == 200
    assert Admin(rig.gateway.layout.admin_socket).pid() == rig.envoy.pid
