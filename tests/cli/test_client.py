"""The client against a real HTTP server on a unix socket: every call, every way in which an answer can go wrong."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lyc.control.client import ControllerClient
from lyc.control.documents import API
from lyc.errors import Failed, LycError, NoFit, NotAuthorised, NotFound, Unreachable
from lyc.records.deployment import DeploymentSpec, Speculative
from tests.cli.conftest import INFO, Controller


@pytest.fixture
def client(controller: Controller) -> ControllerClient:
    return ControllerClient(controller.path)


def test_what_is_sent_and_what_comes_back(controller: Controller, client: ControllerClient) -> None:
    spec = DeploymentSpec("a", "hf:o/m", speculative=Speculative("ngram", None, 2), env={"A": "1"})
    controller.answers |= {
        ("PUT", "/v1/deployments/a"): (202, {"operation": "op-1"}),
        ("DELETE", "/v1/deployments/a"): (202, {"operation": "op-2"}),
        ("GET", "/v1/deployments"): (200, {"deployments": [{"name": "a"}]}),
        ("GET", "/v1/deployments/a"): (200, {"name": "a"}),
        ("GET", "/v1/operations/op-1"): (200, {"id": "op-1"}),
        ("POST", "/v1/deployments/a/keys"): (201, {"id": "k", "key": "s"}),
        ("GET", "/v1/deployments/a/keys"): (200, {"keys": []}),
        ("DELETE", "/v1/deployments/a/keys/k%2F1"): (200, {"id": "k/1", "revoked_at": 1.0}),
        ("POST", "/v1/controller/stop"): (200, {"stopped": True, "serving": ["a"]}),
    }
    assert client.info()["pid"] == 4711
    assert client.deploy(spec, credentials={"HF_TOKEN": "t"}, name_given=False) == "op-1"
    body = controller.calls[-1]["body"]
    assert body["spec"]["speculative"] == {"method": "ngram", "model": None, "tokens": 2}
    assert (body["credentials"], body["name_given"]) == ({"HF_TOKEN": "t"}, False)
    assert client.down("a", drain_timeout=2.5) == "op-2"
    assert controller.calls[-1]["query"] == "drain_timeout=2.5"
    assert client.deployments() == [{"name": "a"}]
    assert client.deployment("a") == {"name": "a"}
    assert client.operation("op-1") == {"id": "op-1"}
    assert client.create_key("a", label="l", ttl=9.0)["key"] == "s"
    assert controller.calls[-1]["body"] == {"label": "l", "ttl_seconds": 9.0}
    assert client.keys("a") == []
    assert client.revoke_key("a", "k/1")["revoked_at"] == 1.0
    assert client.stop()["serving"] == ["a"]


def test_an_error_document_is_raised_as_it_was_raised_there(controller: Controller, client: ControllerClient) -> None:
    original = NoFit("no-room", "it does not fit", why="w", where="here", hint="h", detail=("a", "b"))
    controller.answers["GET", "/v1/deployments/a"] = (400, {"error": original.document()})
    with pytest.raises(NoFit) as caught:
        client.deployment("a")
    assert caught.value.document() == original.document()


def test_an_error_of_a_kind_from_the_future_is_a_failure(controller: Controller, client: ControllerClient) -> None:
    error = NotFound("gone", "gone").document() | {"kind": "Melted"}
    controller.answers["GET", "/v1/deployments/a"] = (418, {"error": error})
    with pytest.raises(Failed) as caught:
        client.deployment("a")
    assert (type(caught.value), caught.value.ref) == (Failed, "gone")


@pytest.mark.parametrize(
    ("answer", "ref"),
    [
        ((500, b"Internal Server Error"), "odd-answer"),
        ((503, {"error": "text"}), "odd-answer"),
        ((200, b"[1]"), "odd-answer"),
        ((200, b"\xff{"), "odd-answer"),
        ((404, {"detail": "Not Found"}), "other-controller-version"),
        ((405, {"detail": "Method Not Allowed"}), "other-controller-version"),
    ],
)
def test_an_odd_answer_is_one_clear_error(
    controller: Controller, client: ControllerClient, answer: Any, ref: str
) -> None:
    controller.answers["GET", "/v1/deployments/a"] = answer
    with pytest.raises(Failed) as caught:
        client.deployment("a")
    assert caught.value.ref == ref


@pytest.mark.parametrize("api", [API + 1, API - 1, None])
def test_another_version_is_told_before_anything_is_asked(
    controller: Controller, client: ControllerClient, api: int | None
) -> None:
    controller.answers["GET", "/v1/controller"] = (200, INFO | {"api": api, "version": "9.9.9"})
    with pytest.raises(Failed) as caught:
        client.info()
    assert (caught.value.ref, caught.value.exit_code) == ("other-controller-version", 1)
    assert "9.9.9" in caught.value.why
    assert "lyc controller restart" in caught.value.hint
    assert client.info(any_version=True)["version"] == "9.9.9"


def test_nobody_there(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    for prepare in (lambda: None, lambda: bind_and_die(path)):
        prepare()
        with pytest.raises(Unreachable) as caught:
            ControllerClient(path).info()
        assert (caught.value.ref, caught.value.exit_code) == ("controller-not-running", 6)
        assert caught.value.hint == "lyc controller start"


def bind_and_die(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))


@pytest.mark.skipif(os.getuid() == 0, reason="root opens everything")
def test_a_controller_of_another_user(controller: Controller, client: ControllerClient) -> None:
    controller.path.chmod(0)
    with pytest.raises(NotAuthorised) as caught:
        client.info()
    assert caught.value.ref == "controller-denied"


def answer_once(path: Path, content: bytes) -> socket.socket:
    """A server that sends these bytes to its first caller and hangs up."""
    import threading

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(content)

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_death_in_the_middle_of_an_answer(tmp_path: Path, content: bytes) -> None:
    with answer_once(tmp_path / "c.sock", content), pytest.raises(Unreachable) as caught:
        ControllerClient(tmp_path / "c.sock").info()
    assert caught.value.ref == "controller-gone"


def test_a_stream_is_read_as_it_comes(controller: Controller, client: ControllerClient) -> None:
    import threading

    more = threading.Event()

    def chunks() -> Iterator[Any]:
        yield {"seq": 1, "kind": "phase", "at": 0.0, "data": {}}
        yield b"\n"  # a sign of life
        assert more.wait(10)
        yield b'{"seq": 2, "kind": "res'  # a line in two pieces
        yield b'ult", "at": 0, "data": {}}\n'

    controller.answers["GET", "/v1/operations/op/events"] = lambda _: (200, chunks())
    events = client.events("op", after=7)
    assert next(events)["seq"] == 1
    more.set()
    assert [event["seq"] for event in events] == [2]
    assert controller.calls[-1]["query"] == "after=7"


def test_a_stream_that_breaks_off_ends_or_raises_but_never_hangs(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = b'{"seq": 1, "kind": "phase", "at": 0, "data": {}}\n'
    with answer_once(tmp_path / "c.sock", head + f"{len(line):x}\r\n".encode() + line + b"\r\n"):
        events = ControllerClient(tmp_path / "c.sock").events("op")
        assert next(events)["seq"] == 1
        with suppress(Unreachable):
            assert list(events) == []


def test_silence_and_the_deadline_end_a_stream(controller: Controller, client: ControllerClient) -> None:
    import threading

    release = threading.Event()

    def silent() -> Iterator[bytes]:
        release.wait(20)
        yield b"\n"

    def chatty() -> Iterator[bytes]:
        while not release.wait(0.02):
            yield b"\n"

    controller.answers["GET", "/v1/operations/silent/events"] = lambda _: (200, silent())
    controller.answers["GET", "/v1/operations/chatty/events"] = lambda _: (200, chatty())
    try:
        with pytest.raises(TimeoutError):
            next(client.events("silent", silence=0.2))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            next(client.events("chatty", silence=10, deadline=began + 0.3))
        assert time.monotonic() - began < 5
    finally:
        release.set()


def test_the_error_of_a_stream_is_raised_when_it_is_asked_for(controller: Controller, client: ControllerClient) -> None:
    error = NotFound("no-such-replica", "none")
    controller.answers["GET", "/v1/deployments/a/logs"] = (404, {"error": error.document()})
    with pytest.raises(LycError) as caught:
        client.logs("a")
    assert caught.value.ref == "no-such-replica"


def test_what_is_not_said_is_not_asked(controller: Controller, client: ControllerClient) -> None:
    line = {"replica": "r", "at": 1.0, "line": "x"}
    controller.answers["GET", "/v1/deployments/a/logs"] = lambda _: (200, iter([line]))
    assert [line["line"] for line in client.logs("a", tail=0, follow=True)] == ["x"]
    assert controller.calls[-1]["query"] == "tail=0&follow=true"
