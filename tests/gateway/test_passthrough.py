"""What a client sends reaches the engine as it is, what the engine says reaches the client as it comes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import time

import httpx
import openai
import pytest

from tests.gateway.rig import Rig, StandIn, until, until_async

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"


def direct(rig: Rig, engine: StandIn, body: bytes, path: str = CHAT) -> httpx.Response:
    with engine.direct() as client:
        return client.post(path, content=body, headers={"authorization": f"Bearer {rig.engine_key}"})


def test_answers_are_the_same_bytes_with_and_without_the_gateway(rig: Rig, alpha: StandIn) -> None:
    for path, wish in (
        (CHAT, {"messages": [{"role": "user", "content": "é 😀"}], "max_tokens": 30}),
        (CHAT, {"messages": [], "max_tokens": 40, "stream": True}),
        (CHAT, {"messages": [], "max_tokens": 7, "stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/completions", {"prompt": "a b", "max_tokens": 25, "stream": True}),
        ("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 2}),
        ("/v1/embeddings", {"input": [f"text {at}" for at in range(300)]}),
        ("/v1/audio/speech", {"input": "x", "max_tokens": 200}),
    ):
        body = json.dumps(wish).encode()
        expected = direct(rig, alpha, body, path)
        answer = rig.call("POST", f"/alpha{path}", content=body)
        assert answer.status_code == expected.status_code == 200
        assert answer.content == expected.content
        assert answer.headers["content-type"] == expected.headers["content-type"]


def test_bodies_reach_the_engine_as_they_are(rig: Rig, alpha: StandIn) -> None:
    chance = random.Random(7)
    for size in (0, 1, 1000, 65_536, 3_000_000):
        body = chance.randbytes(size)
        for content in (body, iter([body[: size // 3], body[size // 3 :]])):
            rig.call("POST", f"/alpha{CHAT}?a=b%20c&d", content=content)
            seen = alpha.seen()
            assert seen["last_target"] == f"{CHAT}?a=b%20c&d"
            assert (seen["last_body_size"], seen["last_body_sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_request_headers_pass_and_the_engines_name_does_not(rig: Rig, alpha: StandIn) -> None:
    sent = {"openai-organization": "o", "x-custom": "a, b", "accept": "text/event-stream", "user-agent": "me/1"}
    answer = rig.call("POST", f"/alpha{CHAT}", headers=sent, json={"messages": []})
    seen = alpha.seen()["last_headers"]
    assert {name: seen[name] for name in sent} == sent
    assert direct(rig, alpha, b"{}").headers["server"] == "uvicorn"
    assert set(answer.headers) == {"content-type", "content-length", "date", "x-request-id"}


async def test_pieces_of_a_stream_are_not_held_back(rig: Rig, alpha: StandIn) -> None:
    """Each event reaches the client before the engine sends the next."""
    alpha.tell(interval=0.15)
    arrivals: list[float] = []
    async with rig.client() as client:
        body = {"messages": [], "max_tokens": 10, "stream": True}
        async with client.stream("POST", f"/alpha{CHAT}", json=body, headers=rig.headers()) as answer:
            async for piece in answer.aiter_bytes():
                arrivals.append(time.monotonic())
                assert piece.endswith(b"\n\n")
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == 13  # head, ten words, usage, [DONE]
    assert min(gaps) > 0.05  # held back, some would come together
    assert sum(gaps) == pytest.approx(12 * 0.15, abs=0.6)


@pytest.mark.parametrize("moment", ["while it streams", "before its first byte", "while a whole answer is made"])
async def test_leaving_client_aborts_the_engine(rig: Rig, alpha: StandIn, moment: str) -> None:
    streamed = moment != "while a whole answer is made"
    alpha.tell(interval=0.02, ttft=0.0 if moment == "while it streams" else 30.0)
    body = {"messages": [], "max_tokens": 5000, "stream": streamed}
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    content = json.dumps(body).encode()
    head = f"POST /alpha{CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {rig.keys['alpha']}\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    if moment == "while it streams":
        await reader.readuntil(b"quick")
    await until_async(lambda: alpha.seen()["running"] == 1, "the engine works on it")
    left = time.monotonic()
    writer.close()
    seen = await until_async(lambda: (got := alpha.seen())["aborted"] == 1 and got, "the engine has noticed")
    assert seen["running"] == 0
    assert seen["last_abort"] - left < 0.5  # milliseconds on an idle machine; both clocks are the machine's


def test_abort_is_logged_with_what_it_had_cost(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(interval=0.02)
    body = {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 500, "stream": True}
    with httpx.stream("POST", f"{rig.url}/alpha{CHAT}", json=body, headers=rig.headers()) as answer:
        for seen, _ in enumerate(answer.iter_lines()):
            if seen > 20:
                break
    line = until(lambda: rig.logged(path=CHAT), "the request is logged")[0]
    assert line["flags"] == "DC"
    assert line["prompt_tokens"] == 2
    assert 5 <= line["completion_tokens"] < 200


def test_official_client(rig: Rig, alpha: StandIn) -> None:
    with openai.OpenAI(api_key=rig.keys["alpha"], base_url=f"{rig.url}/alpha/v1", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["stand-in"]
        chat = client.chat.completions.create(
            model="stand-in", messages=[{"role": "user", "content": "a b c"}], max_tokens=5
        )
        assert chat.choices[0].message.content == "The quick brown fox jumps"
        assert chat.usage
        assert chat.usage.prompt_tokens == 3
        stream = client.chat.completions.create(
            model="stand-in",
            messages=[{"role": "user", "content": "a"}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text.endswith(' dog. "usage":{ é→😀')
        assert chunks[-1].usage
        assert chunks[-1].usage.completion_tokens == 12
        assert (
            len(client.embeddings.create(model="stand-in", input="x", encoding_format="float").data[0].embedding) == 32
        )
