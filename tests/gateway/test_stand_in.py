"""The stand-in must itself be trusted: it starts, answers, fails and is left as an engine does."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from tests.gateway.rig import Rig, until


def test_key_guards_v1_alone(rig: Rig) -> None:
    engine = rig.stand_in("one")
    with engine.direct() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert client.get("/nothing").status_code == 404
        client.headers["authorization"] = f"Bearer {rig.engine_key}"
        assert client.get("/v1/models").json()["data"][0]["id"] == "stand-in"
        assert client.get("/v1/nothing").status_code == 400  # not a JSON object
    assert engine.seen()["unauthorised"] == 1


def test_load_delay_is_between_bind_and_listen(rig: Rig) -> None:
    begun = time.monotonic()
    engine = rig.stand_in("late", "--load-delay", "1")
    with socket.socket(socket.AF_UNIX) as probe:
        assert probe.connect_ex(str(engine.socket)) != 0  # bound, and not listening yet
    until(lambda: _connects(str(engine.socket)), "it listens")
    assert time.monotonic() - begun > 1


def test_metrics_have_vllms_names_and_count(rig: Rig) -> None:
    engine = rig.stand_in("one", interval=0.01)
    with engine.direct() as client:
        client.headers["authorization"] = f"Bearer {rig.engine_key}"
        body = {"messages": [{"role": "user", "content": "a b"}], "max_tokens": 3}
        assert client.post("/v1/chat/completions", json=body).json()["usage"]["total_tokens"] == 5
        text = client.get("/metrics").text
    for name, value in (
        ("vllm:num_requests_running", 0), ("vllm:num_requests_waiting", 0), ("vllm:prompt_tokens_total", 2),
        ("vllm:generation_tokens_total", 3), ("vllm:request_success_total", 1),
    ):  # fmt: skip
        assert f'{name}{{engine="0",model_name="stand-in"}} {float(value)}\n' in text


def test_faults_on_request(rig: Rig) -> None:
    engine = rig.stand_in("one")
    with engine.direct() as client:
        client.headers["authorization"] = f"Bearer {rig.engine_key}"
        body = {"prompt": "a", "max_tokens": 50, "stream": True}
        engine.tell(health=500)
        assert client.get("/health").status_code == 500
        engine.tell(answer=503)
        assert client.post("/v1/completions", json=body).status_code == 503
        engine.tell(answer=200, cut_after=5)
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/v1/completions", json=body)
        engine.tell(cut_after=0, reset=True)
        with pytest.raises(httpx.HTTPError):
            client.post("/v1/completions", json=body)
        assert client.post("/stand-in", json={"no_such": 1}).status_code == 400


def test_hanging_engine_accepts_and_is_silent(rig: Rig) -> None:
    told = rig.stand_in("told", hang=True)
    deaf = rig.stand_in("deaf", "--accept-only")
    for engine in (told, deaf):
        until(lambda path=str(engine.socket): _connects(path), "it listens")
        with pytest.raises(httpx.ReadTimeout):
            httpx.Client(transport=httpx.HTTPTransport(uds=str(engine.socket)), timeout=0.3).get("http://e/health")
    told.tell(hang=False)
    assert told.seen()["behaviour"]["hang"] is False


def test_client_that_leaves_is_counted(rig: Rig) -> None:
    engine = rig.stand_in("one", interval=0.05)
    with engine.direct() as client, client.stream(
        "POST", "/v1/completions", json={"prompt": "a", "max_tokens": 999, "stream": True},
        headers={"authorization": f"Bearer {rig.engine_key}"},
    ) as answer:  # fmt: skip
        lines = answer.iter_lines()
        next(lines)
        assert engine.seen()["running"] == 1
    seen = until(lambda: (got := engine.seen())["aborted"] == 1 and got, "it has noticed")
    assert (seen["running"], seen["finished"], seen["requests"]) == (0, 0, 1)


def _connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
