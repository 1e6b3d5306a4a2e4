"""An engine that can sleep has routes for that, and others for developers: nobody reaches them by the port."""

from __future__ import annotations

import socket

from tests.gateway.rig import Rig, StandIn, until

ROUTES = ("sleep", "wake_up", "is_sleeping", "collective_rpc", "stand-in")
UP = ("/alpha/v1/..", "/alpha/v1/../..", "/alpha/v1/%2e%2e", "/alpha/v1/.%2E", "/alpha/v1/..%2f", "/alpha/v1/%2e%2e%2f",
      "/alpha/v1/..%5c", "/alpha/v1/..\\", "/alpha/v1//..", "/alpha/v1/./..", "/alpha/v1/x/../..", "/alpha/v1;/..",
      "/alpha", "", "//alpha", "/alpha/v1x", "/alpha/%76%31/..")  # fmt: skip


def raw(rig: Rig, method: str, target: str) -> int:
    """The status of a request whose path is sent as it is: clients tidy theirs up."""
    head = (
        f"{method} {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {rig.keys['alpha']}\r\n"
        "content-length: 0\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", rig.port), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"\r\n" not in answer and (piece := connection.recv(65536)):
            answer += piece
    return int(answer.split(b" ", 2)[1])


def test_no_path_leads_to_them(rig: Rig) -> None:
    engine = rig.stand_in("alpha-1-a", "--developer")
    rig.start(alpha=[engine.endpoint], beta=[])
    before = engine.seen()
    with engine.direct() as client:  # they are there, and need no key: it is the gateway that keeps them closed
        assert client.get("/is_sleeping").json() == {"is_sleeping": False}
    answers = {
        (method, target): raw(rig, method, target)
        for prefix in UP
        for route in ROUTES
        for method, target in (("POST", f"{prefix}/{route}?level=1"), ("GET", f"{prefix}/{route}"))
    }
    assert {key: status for key, status in answers.items() if status < 400} == {}
    seen = engine.seen()
    assert (seen["sleeps"], seen["wakes"], seen["sleeping"]) == (0, 0, False)
    assert seen["behaviour"] == before["behaviour"]
    assert raw(rig, "GET", "/alpha/v1/models") == 200


def test_below_v1_they_are_no_routes(rig: Rig) -> None:
    engine = rig.stand_in("alpha-1-a", "--developer")
    rig.start(alpha=[engine.endpoint], beta=[])
    for route in ROUTES:
        assert raw(rig, "POST", f"/alpha/v1/{route}") in (400, 404, 405)
    assert engine.seen()["sleeps"] == 0
    with engine.direct() as client:
        assert client.post("/sleep?level=1").status_code == 200
    until(lambda: engine.seen()["sleeping"], "its sleep, told on its own socket")


def test_the_stand_in_has_them_only_where_it_was_started_so(alpha: StandIn) -> None:
    with alpha.direct() as client:
        assert client.post("/sleep?level=1").status_code == 404
