"""Requests that find no replica: held by the activator, and replayed by the real Envoy to the replica that it woke."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import openai
import pytest

from lyc.errors import EngineFailed
from lyc.records.wake import Waking
from tests.gateway.rig import Rig, until, until_async
from tests.gateway.waker import Start, ask, error, held, one_replica

pytestmark = pytest.mark.anyio
CHAT = "/alpha/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 4}


async def test_burst_at_zero_is_answered_by_the_replica_that_one_wake_started(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "1.5"))
    async with rig.client() as client:
        outcomes = await asyncio.gather(*(rig.stream(client, 10) for _ in range(200)))
    assert Counter(outcome.complete for outcome in outcomes) == {True: 200}
    assert starter.woken == 1
    assert starter.activator.arrived() == {"alpha": 200}
    assert starter.activator.held() == {}
    assert starter.activator.passing() == {}
    lines = until(lambda: (got := rig.logged()) and len(got) == 200 and got, "all are logged")
    assert {(line["status"], line["replica"]) for line in lines} == {(200, "alpha-1-a")}
    assert {line["completion_tokens"] for line in lines} == {10}  # counted by the gateway, so they passed through it
    assert rig.engines[0].seen()["requests"] == 200
    assert (rig.gateway.status().total or {}) == {"alpha-1-a": 200}


async def test_bodies_of_megabytes_are_replayed_whole(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "1"))
    async with rig.client() as client:
        posts = [
            asyncio.create_task(client.post(CHAT, content=b"x" * size, headers=rig.headers()))
            for size in (7_000_000, 1, 7_000_000, 30_000_000)
        ]
        await held(starter, 4)
        answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {400}  # the engine's own: it is no JSON
    assert rig.engines[0].seen()["requests"] == 4
    rig.call("POST", CHAT, content=b"y" * 30_000_000)
    assert rig.engines[0].seen()["last_body_size"] == 30_000_000


def test_a_replica_that_is_there_never_meets_the_activator(rig: Rig, start: Start) -> None:
    starter = start()
    one_replica(rig)()
    rig.wait_healthy("alpha-1-a")
    assert {rig.chat().status_code for _ in range(20)} == {200}
    assert starter.asked == {}


async def test_no_one_is_woken_by_strangers(rig: Rig, start: Start) -> None:
    starter = start()
    wrong = {"x-lyc-deployment": "alpha", "x-lyc-keepalive": "1"}
    for key, path in (("wrong", CHAT), (None, CHAT), ("beta", CHAT), ("alpha", "/beta/v1/models")):
        assert rig.call("POST", path, key, json=BODY, headers=wrong).status_code == 401
    assert rig.call("GET", "/alpha/metrics").status_code == 404
    assert starter.asked == {}
    assert starter.activator.arrived() == {}


async def test_headers_of_callers_cannot_name_another_deployment(rig: Rig, start: Start) -> None:
    starter = start()
    forged = {
        "x-lyc-deployment": "beta", "x-lyc-arrived": "1", "x-lyc-request": "r", "x-envoy-attempt-count": "9",
        "lyc-caller-wake-timeout": "600", "x-lyc-wake-timeout": "0",
    }  # fmt: skip
    assert rig.call("POST", CHAT, json=BODY, headers=forged).status_code == 503
    assert set(starter.asked) == {"alpha"}


@pytest.mark.parametrize("limit", ["count", "bytes"])
async def test_beyond_the_queue_is_429(rig: Rig, start: Start, limit: str) -> None:
    bounds = {"queue": 3} if limit == "count" else {"queue_bytes": 3_500}
    starter = start(expected=40.0, **bounds)
    async with rig.client() as client:
        waiting = [asyncio.create_task(client.post(CHAT, content=b"x" * 1000, headers=rig.headers())) for _ in range(3)]
        await held(starter, 3)
        refused = await client.post(CHAT, content=b"x" * 1000, headers=rig.headers())
        assert (refused.status_code, error(refused)["code"]) == (429, "queue_full")
        assert refused.headers["retry-after"] == "40"
        waiting[0].cancel()
        await held(starter, 2)
        waiting.append(asyncio.create_task(client.post(CHAT, content=b"x" * 1000, headers=rig.headers())))
        await held(starter, 3)
        one_replica(rig)()
        answers = await asyncio.gather(*waiting[1:])
    assert {answer.status_code for answer in answers} == {400}


async def test_wait_ends_with_the_reason_and_the_estimate(rig: Rig, start: Start) -> None:
    start(timeout=0.6, expected=41.5)
    begun = time.monotonic()
    answer = await asyncio.to_thread(rig.chat)
    assert time.monotonic() - begun >= 0.6
    assert (answer.status_code, error(answer)["code"]) == (503, "wake_timeout")
    assert (answer.headers["retry-after"], answer.headers["x-lyc-expected"]) == ("42", "42")
    assert "42 s" in str(error(answer)["message"])


@pytest.mark.parametrize(("patience", "least"), [("0", 0.0), ("0.5", 0.5)])
async def test_patience_of_the_caller_is_respected(rig: Rig, start: Start, patience: str, least: float) -> None:
    starter = start(expected=41.5)
    begun = time.monotonic()
    answer = await asyncio.to_thread(rig.chat_with, {"X-Lyc-Wake-Timeout": patience})
    assert time.monotonic() - begun >= least
    assert (answer.status_code, error(answer)["code"], answer.headers["retry-after"]) == (503, "wake_timeout", "42")
    assert starter.asked["alpha"] >= 1  # it was woken all the same: come again
    assert rig.logged() or until(rig.logged, "it is logged")
    assert rig.logged()[0]["attempts"] == 1


@pytest.mark.parametrize("patience", ["soon", "-1", "nan", "inf", "1e999"])
def test_patience_must_be_a_number(rig: Rig, start: Start, patience: str) -> None:
    starter = start()
    answer = rig.chat_with({"X-Lyc-Wake-Timeout": patience})
    assert (answer.status_code, error(answer)["code"]) == (400, "invalid_wake_timeout")
    assert starter.asked == {}


async def test_who_hangs_up_leaves_the_queue(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "4"))
    async with rig.client() as client:
        tasks = [asyncio.create_task(rig.stream(client, 4)) for _ in range(10)]
        await held(starter, 10)
        for task in tasks[:7]:
            task.cancel()
        await held(starter, 3)
        outcomes = await asyncio.gather(*tasks[7:])
    assert [outcome.complete for outcome in outcomes] == [True] * 3
    assert rig.engines[0].seen()["requests"] == 3


@pytest.mark.parametrize("state", ["paused", "failed"])
def test_where_there_is_no_hope_the_reason_comes_at_once(rig: Rig, start: Start, state: str) -> None:
    reason = EngineFailed("engine-out-of-memory", "the engine ran out of memory", hint="lyc plan alpha")
    starter = start()
    starter.say(Waking(state, error=reason.document()))  # type: ignore[arg-type]
    answer = rig.chat()
    assert (answer.status_code, error(answer)["code"]) == (503, f"deployment_{state}")
    assert error(answer)["message"] == "The engine ran out of memory (lyc plan alpha)."
    assert answer.headers["retry-after"] == "60"
    line = until(rig.logged, "it is logged")[0]
    assert (line["attempts"], line["replica"]) == (1, "activator")  # Envoy has not tried again


async def test_hope_that_is_lost_while_they_wait(rig: Rig, start: Start) -> None:
    starter = start()
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(5)]
        await held(starter, 5)
        starter.say(Waking("failed", error={"what": "no card is left"}))
        answers = await asyncio.gather(*tasks)
    assert {(answer.status_code, str(error(answer)["message"])) for answer in answers} == {(503, "No card is left.")}


def test_deployment_that_is_gone_meanwhile(rig: Rig, start: Start) -> None:
    start().say(Waking("unknown"))
    answer = rig.chat()
    assert (answer.status_code, error(answer)["code"]) == (404, "not_found")


async def test_unwell_replica_is_waited_for_and_the_way_back_is_found(rig: Rig, start: Start) -> None:
    starter = start()
    engine = one_replica(rig)()
    rig.wait_healthy("alpha-1-a")
    engine.tell(health=503)
    until(lambda: rig.gateway.status().healthy == frozenset(), "the replica is out of rotation")
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(5)]
        await held(starter, 5)
        engine.tell(health=200)
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * 5
    arrived = starter.activator.arrived()
    assert rig.chat().status_code == 200
    assert starter.activator.arrived() == arrived  # the next goes to the replica straight away


async def test_replica_that_dies_under_a_request_and_comes_back(rig: Rig, start: Start) -> None:
    """Killed with a request in it and nothing answered: held, and replayed to the one that follows."""
    starter = start()
    engine = one_replica(rig, ttft=30.0)()
    rig.wait_healthy("alpha-1-a")
    async with rig.client() as client:
        tasks = [asyncio.create_task(ask(client, rig)) for _ in range(5)]
        await until_async(lambda: engine.seen()["running"] == 5, "the replica works on them")
        engine.kill()
        await held(starter, 5)
        again = await asyncio.to_thread(rig.stand_in, "alpha-1-b")
        await asyncio.to_thread(rig.apply, alpha=[again.endpoint], beta=[])
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * 5


async def test_one_of_two_replicas_dies_and_nobody_waits(rig: Rig, start: Start) -> None:
    start()
    engines = [rig.stand_in(f"alpha-1-{name}") for name in "ab"]
    rig.apply(alpha=[engine.endpoint for engine in engines], beta=[])
    rig.wait_healthy("alpha-1-a", "alpha-1-b")
    engines[0].kill()
    assert {rig.chat().status_code for _ in range(40)} == {200}


async def test_request_that_kills_what_it_reaches_ends(rig: Rig, start: Start) -> None:
    """Each replica resets it: after a few it is over, though all look well."""
    start(one_replica(rig, reset=True))
    answer = await asyncio.to_thread(rig.chat)
    assert (answer.status_code, error(answer)["code"]) == (503, "replica_lost")
    assert answer.headers["retry-after"] == "5"
    assert rig.engines[0].seen()["requests"] <= 4


async def test_replica_whose_every_answer_is_503(rig: Rig, start: Start) -> None:
    start(one_replica(rig, answer=503))
    answer = await asyncio.to_thread(rig.chat)
    assert (answer.status_code, error(answer)["code"]) == (503, "replica_lost")
    assert rig.engines[0].seen()["requests"] <= 4


async def test_the_openai_client_waits_without_knowing(rig: Rig, start: Start) -> None:
    start(one_replica(rig, "--load-delay", "1"))

    def ask() -> str:
        with openai.OpenAI(api_key=rig.keys["alpha"], base_url=f"{rig.url}/alpha/v1", max_retries=0) as client:
            chat = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}], max_tokens=2)
            return chat.choices[0].message.content or ""

    assert await asyncio.to_thread(ask) == "The quick"


async def test_engine_keys_are_never_written(rig: Rig, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    start(one_replica(rig, "--load-delay", "0.5"))
    assert (await asyncio.to_thread(rig.chat)).status_code == 200
    until(rig.logged, "it is logged")
    written = rig.access_log.read_text() + "\n".join(rig.envoy_log()) + caplog.text
    assert rig.engine_key not in written
    assert rig.keys["alpha"] not in written
