"""Streams whose callers want to hear something while they wait, and the official client's view of them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import openai
import pytest

from lyc.records.wake import Waking
from tests.gateway.rig import Rig, until, until_async
from tests.gateway.waker import Start, error, held, one_replica

pytestmark = pytest.mark.anyio
CHAT = "/alpha/v1/chat/completions"
ALIVE = {"X-Lyc-Keepalive": "1"}
STREAM = {"model": "m", "messages": [{"role": "user", "content": "go"}], "max_tokens": 8, "stream": True}


async def read(rig: Rig, body: dict[str, Any] = STREAM, headers: dict[str, str] = ALIVE) -> tuple[str, list[float]]:
    """The text of a stream, and when its pieces came."""
    text, arrivals = "", []
    async with (
        rig.client() as client,
        client.stream("POST", CHAT, json=body, headers=rig.headers() | headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for piece in answer.aiter_text():
            text += piece
            arrivals.append(time.monotonic())
    return text, arrivals


def lines_of(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


async def test_comments_come_while_it_waits_and_then_the_stream_as_it_is(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "1.5"), expected=41.5)
    text, arrivals = await read(rig)
    comments = lines_of(text, ":")
    assert comments[0] == ": waiting for a replica, expected in about 42 s"
    assert len(comments) >= 4  # every 0.2 s
    assert arrivals[1] - arrivals[0] > 0.1  # they come while it waits, not all at the end
    direct = httpx.post(rig.url + CHAT, json=STREAM, headers=rig.headers())
    assert text.endswith(direct.text)
    assert text.startswith(":")
    assert starter.activator.passing() == {}
    seen = rig.engines[0].seen()
    assert (seen["requests"], seen["unauthorised"]) == (2, 0)
    line = until(lambda: rig.logged(replica="activator"), "it is logged")[0]
    assert (line["status"], line["completion_tokens"]) == (200, 8)


async def test_pieces_are_passed_on_as_they_come_and_the_callers_leave_is_told(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "0.5", interval=0.05))
    body = STREAM | {"max_tokens": 5000}
    async with (
        rig.client() as client,
        client.stream("POST", CHAT, json=body, headers=rig.headers() | ALIVE) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                break
        assert starter.activator.passing() == {"alpha-1-a": 1}
        assert rig.engines[0].seen()["running"] == 1
    await until_async(lambda: rig.engines[0].seen()["aborted"] == 1, "the engine has noticed")
    await until_async(lambda: starter.activator.passing() == {}, "nothing passes any more")


async def test_who_hangs_up_while_it_waits_leaves(rig: Rig, start: Start) -> None:
    starter = start()
    task = asyncio.create_task(read(rig))
    await held(starter, 1)
    task.cancel()
    await held(starter, 0)


async def test_a_replica_that_is_there_answers_without_detour(rig: Rig, start: Start) -> None:
    starter = start()
    one_replica(rig)()
    rig.wait_healthy("alpha-1-a")
    text, _ = await read(rig)
    assert not lines_of(text, ":")
    assert starter.asked == {}


@pytest.mark.parametrize(
    ("body", "headers"), [(STREAM | {"stream": False}, ALIVE), (STREAM, {}), (STREAM, {"X-Lyc-Keepalive": "0"})]
)
async def test_who_does_not_stream_or_wish_is_held_as_any_other(
    rig: Rig, start: Start, body: dict[str, Any], headers: dict[str, str]
) -> None:
    start(one_replica(rig, "--load-delay", "0.5"))
    answer = await asyncio.to_thread(rig.call, "POST", CHAT, json=body, headers=headers)
    assert answer.status_code == 200
    assert not lines_of(answer.text, ":")
    assert until(rig.logged, "it is logged")[0]["replica"] == "alpha-1-a"


async def test_what_is_refused_at_once_is_refused_with_its_status(rig: Rig, start: Start) -> None:
    starter = start(queue=0)
    answer = rig.call("POST", CHAT, json=STREAM, headers=ALIVE)
    assert (answer.status_code, error(answer)["code"]) == (429, "queue_full")
    starter.say(Waking("paused"))
    answer = rig.call("POST", CHAT, json=STREAM, headers=ALIVE)
    assert (answer.status_code, error(answer)["code"]) == (503, "deployment_paused")


async def test_failure_in_the_stream_is_an_error_event(rig: Rig, start: Start) -> None:
    start(timeout=3.0)
    text, _ = await read(rig)
    (event, done) = lines_of(text, "data: ")
    assert json.loads(event.removeprefix("data: "))["error"]["code"] == "wake_timeout"
    assert done == "data: [DONE]"


async def test_refusal_of_the_engine_is_passed_on_as_an_event(rig: Rig, start: Start) -> None:
    start(one_replica(rig, "--load-delay", "0.5"))
    text, _ = await read(rig, STREAM | {"max_tokens": 0})
    said = json.loads(lines_of(text, "data: ")[0].removeprefix("data: "))
    assert said["error"]["message"] == "max_tokens must be at least 1"


async def test_stream_that_is_cut_is_not_taken_for_whole(rig: Rig, start: Start) -> None:
    start(one_replica(rig, "--load-delay", "0.5", cut_after=3))
    with pytest.raises(httpx.RemoteProtocolError):
        await read(rig)


async def test_replica_that_resets_each_ends_in_an_event(rig: Rig, start: Start) -> None:
    start(one_replica(rig, "--load-delay", "0.5", reset=True))
    text, _ = await read(rig)
    assert json.loads(lines_of(text, "data: ")[0].removeprefix("data: "))["error"]["code"] == "replica_lost"


async def test_the_openai_client(rig: Rig, start: Start) -> None:
    starter = start(one_replica(rig, "--load-delay", "0.7"))

    def ask() -> str:
        with openai.OpenAI(
            api_key=rig.keys["alpha"], base_url=f"{rig.url}/alpha/v1", max_retries=0, default_headers=ALIVE
        ) as client:
            chunks = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "a"}], max_tokens=3, stream=True
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert await asyncio.to_thread(ask) == "The quick brown"
    starter.say(Waking("waking", timeout=0.3))
    rig.engines[0].kill()
    until(lambda: rig.gateway.status().healthy == frozenset(), "the replica is out of rotation")
    with pytest.raises(openai.APIError) as raised:
        await asyncio.to_thread(ask)
    assert raised.value.code == "wake_timeout"
