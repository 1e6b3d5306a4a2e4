"""Every answer that is the gateway's own is OpenAI's shape; every answer of an engine passes as it is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from lyc.gateway.replies import MAX_BODY_BYTES
from tests.gateway.rig import Rig, StandIn, until

CHAT = "/alpha/v1/chat/completions"


def shaped(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"]
    assert error["param"] is None
    assert "server" not in answer.headers
    assert "envoy" not in (answer.text + str(answer.headers)).lower()


def test_no_replica(rig: Rig, alpha: StandIn) -> None:
    answer = rig.call("GET", "/beta/v1/models", "beta")
    shaped(answer, 503, "no_replica_ready")
    assert answer.headers["retry-after"] == "5"


def test_dead_replica(rig: Rig, alpha: StandIn) -> None:
    alpha.kill()
    answer = rig.chat()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] in ("replica_lost", "no_replica_ready")
    assert answer.headers["retry-after"] == "5"
    until(lambda: rig.gateway.status().healthy == frozenset(), "the dead replica is out of rotation")
    shaped(rig.chat(), 503, "no_replica_ready")


def test_replica_that_resets_every_request(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(reset=True)
    answer = rig.chat()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] in ("replica_lost", "no_replica_ready")


def test_unknown_path_and_refused_key(rig: Rig, alpha: StandIn) -> None:
    shaped(rig.call("GET", "/alpha/metrics"), 404, "not_found")
    shaped(rig.call("GET", "/alpha/v1/models", None), 401, "invalid_api_key")


def test_route_gone_but_key_still_there(rig: Rig, alpha: StandIn) -> None:
    rig.apply(beta=[])
    shaped(rig.chat(), 404, "not_found")


def test_too_large_with_and_without_a_length(rig: Rig, alpha: StandIn) -> None:
    over = MAX_BODY_BYTES + 1

    def pieces() -> Iterator[bytes]:
        for _ in range(0, over, 1 << 20):
            yield b"x" * (1 << 20)

    shaped(rig.call("POST", CHAT, content=b"x" * over), 413, "request_too_large")
    shaped(rig.call("POST", CHAT, content=pieces()), 413, "request_too_large")
    shaped(rig.call("POST", CHAT, "wrong", content=b"x" * over), 401, "invalid_api_key")
    assert alpha.seen()["requests"] == 0
    assert rig.chat().status_code == 200


def test_largest_body_that_fits_arrives_whole(rig: Rig, alpha: StandIn) -> None:
    rig.call("POST", CHAT, content=b"x" * MAX_BODY_BYTES)
    assert alpha.seen()["last_body_size"] == MAX_BODY_BYTES


def test_bad_requests(rig: Rig, alpha: StandIn) -> None:
    head = f"authorization: Bearer {rig.keys['alpha']}\r\n"
    for request, status in (
        (f"GET /alpha/v1/models%2f HTTP/1.1\r\nhost: x\r\n{head}\r\n", b"400"),
        (f"GET /alpha/v1/models HTTP/1.1\r\nhost: x\r\n{head}x: {'y' * 70_000}\r\n\r\n", b"431"),
        (f"GET /alpha/v1/models HTTP/1.0\r\nhost: x\r\n{head}\r\n", b"426"),
    ):
        answer = rig.raw(request.encode())
        assert answer.split()[1] == status
        assert b'{"error":{"message":"' in answer
        assert b"content-type: application/json" in answer
    assert rig.raw(b"nonsense\r\n\r\n").split()[1] == b"400"
    assert alpha.seen()["requests"] == 0


def test_upgrades_are_refused(rig: Rig, alpha: StandIn) -> None:
    """No WebSocket: vLLM's /v1/realtime is not offered, and no tunnel can be dug through a protocol change."""
    for protocol in ("websocket", "h2c", "connect-udp"):
        for key in (rig.keys["alpha"], "wrong"):
            head = (
                f"GET /alpha/v1/realtime HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
                f"connection: upgrade\r\nupgrade: {protocol}\r\nsec-websocket-version: 13\r\n\r\n"
            )
            answer = rig.raw(head.encode())
            assert answer.split()[1] in (b"400", b"401", b"403", b"404"), answer  # 400: from the engine, of a plain GET
            assert b"upgrade:" not in answer.lower()
            assert "upgrade" not in alpha.seen()["last_headers"]


def test_errors_of_the_engine_pass_unchanged(rig: Rig, alpha: StandIn) -> None:
    path = "/v1/chat/completions"
    for wrong in ({"max_tokens": 0}, [1, 2]):
        with alpha.direct() as client:
            direct = client.post(path, json=wrong, headers={"authorization": f"Bearer {rig.engine_key}"})
        through = rig.call("POST", f"/alpha{path}", json=wrong)
        assert direct.status_code == 400
        assert (through.status_code, through.content) == (direct.status_code, direct.content)
    for status in (404, 422, 429, 500, 501, 502, 504):
        alpha.tell(answer=status)
        answer = rig.chat()
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, "told to fail")


def test_the_openai_client_understands_each(rig: Rig, alpha: StandIn) -> None:
    def client(key: str, deployment: str = "alpha") -> openai.OpenAI:
        return openai.OpenAI(api_key=rig.keys.get(key, key), base_url=f"{rig.url}/{deployment}/v1", max_retries=0)

    with client("wrong") as wrong, pytest.raises(openai.AuthenticationError) as refused:
        wrong.models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id
    with client("beta", "beta") as empty, pytest.raises(openai.InternalServerError) as unready:
        empty.models.list()
    assert (unready.value.status_code, unready.value.code) == (503, "no_replica_ready")
    with client("alpha") as large, pytest.raises(openai.APIStatusError) as over:
        large.completions.create(model="m", prompt="x" * (MAX_BODY_BYTES + 1))
    assert (over.value.status_code, over.value.code) == (413, "request_too_large")


@pytest.mark.slow
def test_slow_headers_are_given_up(rig: Rig, alpha: StandIn) -> None:
    """A client that never ends its head must not hold a connection for ever."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", rig.port), timeout=20) as connection:
        connection.sendall(b"GET /alpha/v1/models HTTP/1.1\r\nhost: x\r\n")
        answer = connection.recv(65536)
    assert 8 < time.monotonic() - begun < 18
    assert answer.split()[1] == b"408"
    assert b'"code":"request_timeout"' in answer
