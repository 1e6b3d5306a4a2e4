"""The fake clouds' own floor: state, and every fault as a client over a socket meets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lyc.records.rental import MachineState
from lyc.testing.clouds.core import Address, Cloud, FakeMachine, NoSuchOffer, SoldOut
from lyc.testing.clouds.faults import Fault
from lyc.testing.clouds.server import App, Reply, Request, Route, Stop, serve


class Plain:
    """The smallest cloud there is: create, list, get, delete."""

    def __init__(self, **options: Any) -> None:
        self.cloud = Cloud({"gpu": 5}, **options)
        routes = [
            Route("create", "POST", "/vms", self._create),
            Route("list", "GET", "/vms", self._list),
            Route("get", "GET", "/vms/{id}", self._get),
            Route("terminate", "DELETE", "/vms/{id}", self._delete),
            Route(lambda asked: str(asked.body["op"]), "POST", "/graph", lambda asked: (200, asked.body)),
            Route("broken", "GET", "/broken", lambda asked: (200, 1 // 0)),
        ]
        self.app = App(self.cloud, routes, sold_out=lambda asked: Reply(418, {"sold": "out"}), guard=self._guard)

    def _guard(self, asked: Request) -> Reply | None:
        return None if asked.headers.get("authorization") == "Bearer good" else Reply(401, {"who": "you"})

    def _show(self, machine: FakeMachine) -> dict[str, Any]:
        address = machine.address and machine.address.host
        return {"id": machine.id, "name": machine.name, "status": machine.word or machine.state, "address": address}

    def _create(self, asked: Request) -> tuple[int, Any]:
        return 201, self._show(self.cloud.launch(asked.body["name"], "gpu"))

    def _list(self, asked: Request) -> tuple[int, Any]:
        return 200, [self._show(machine) for machine in self.cloud.machines.values()]

    def _get(self, asked: Request) -> tuple[int, Any]:
        machine = self.cloud.machines.get(asked.params["id"])
        if machine is None:
            raise Stop(404, {"none": asked.params["id"]})
        return 200, self._show(machine)

    def _delete(self, asked: Request) -> tuple[int, Any]:
        return (204, None) if self.cloud.end(asked.params["id"]) else (404, {})


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture
def client(plain: Plain) -> Iterator[httpx.Client]:
    with (
        serve(plain.app) as base,
        httpx.Client(base_url=base, headers={"Authorization": "Bearer good"}, timeout=5) as client,
    ):
        yield client


def create(client: httpx.Client) -> httpx.Response:
    return client.post("/vms", json={"name": "lyc-0a0a0a0a-00000001"})


def test_a_machine_runs_at_the_second_look_and_is_gone_after_its_delete(plain: Plain, client: httpx.Client) -> None:
    made = create(client).json()
    assert (made["status"], made["address"]) == ("creating", None)
    shown = client.get(f"/vms/{made['id']}").json()
    assert (shown["status"], shown["address"]) == ("running", "203.0.113.2")
    assert client.delete(f"/vms/{made['id']}").status_code == 204
    assert client.delete(f"/vms/{made['id']}").status_code == 404
    assert (plain.cloud.alive(), plain.cloud.capacity["gpu"], len(plain.cloud.ever)) == ([], 5, 1)


def test_calls_are_kept_with_what_was_sent(plain: Plain, client: httpx.Client) -> None:
    create(client)
    client.get("/vms", params={"page": "2"})
    client.post("/graph", json={"op": "stop"})
    first, second, third = plain.cloud.calls
    assert (first.op, first.body, first.headers["authorization"]) == (
        "create", {"name": "lyc-0a0a0a0a-00000001"}, "Bearer good",
    )  # fmt: skip
    assert (second.op, second.query, third.op) == ("list", {"page": "2"}, "stop")


def test_a_wrong_credential_and_a_wrong_path(client: httpx.Client) -> None:
    assert client.get("/vms", headers={"Authorization": "Bearer bad"}).json() == {"who": "you"}
    assert client.get("/nowhere").status_code == 404


@pytest.mark.parametrize(("kind", "made"), [("refuse", 0), ("lose", 1), ("delay", 0)])
def test_an_answer_that_is_lost(plain: Plain, client: httpx.Client, kind: Any, made: int) -> None:
    plain.app.faults.add(Fault("create", kind))
    with pytest.raises(httpx.RemoteProtocolError):
        create(client)
    assert (len(plain.cloud.ever), plain.app.faults.left) == (made, 0)
    assert create(client).status_code == 201


def test_what_is_delayed_is_done_after_a_further_request(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "delay"))
    with pytest.raises(httpx.RemoteProtocolError):
        create(client)
    assert (client.get("/vms").json(), plain.app.held) == ([], 1)
    assert len(client.get("/vms").json()) == 1
    assert (plain.app.held, len(plain.cloud.ever)) == (0, 1)


def test_what_is_delayed_by_the_clock() -> None:
    now = [100.0]
    plain = Plain(clock=lambda: now[0])
    plain.app.faults.add(Fault("create", "delay", seconds=30))
    with serve(plain.app) as base, httpx.Client(base_url=base, headers={"Authorization": "Bearer good"}) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            create(client)
        assert [client.get("/vms").json() for _ in range(3)] == [[], [], []]
        now[0] = 131
        assert len(client.get("/vms").json()) == 1


def test_done_twice(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "double"))
    first = create(client).json()
    assert (plain.cloud.ever[0].id, len(plain.cloud.ever)) == (first["id"], 2)


def test_a_status_with_its_headers_at_the_second_call_alone(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "status", skip=1, code=429, headers={"retry-after": "3"}))
    first, second, third = create(client), create(client), create(client)
    assert [answer.status_code for answer in (first, second, third)] == [201, 429, 201]
    assert (second.headers["retry-after"], len(plain.cloud.ever)) == ("3", 2)


def test_what_is_no_json_was_done_all_the_same(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "malformed"))
    with pytest.raises(ValueError):
        create(client).json()
    assert len(plain.cloud.ever) == 1


def test_a_client_that_does_not_wait(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "slow", seconds=60))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/vms", json={"name": "x"}, timeout=0.1)
    assert len(client.get("/vms").json()) == 1


def test_it_fails_late(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "late-failure", problem="no driver"))
    made = create(client)
    assert (made.status_code, client.get(f"/vms/{made.json()['id']}").json()["status"]) == (201, "failed")
    assert plain.cloud.ever[0].problem == "no driver"
    other = create(client).json()
    assert client.get(f"/vms/{other['id']}").json()["status"] == "running"


def test_a_word_that_nobody_knows(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "odd-state", word="musing"))
    assert create(client).json()["status"] == "musing"
    made = create(client).json()
    plain.app.faults.add(Fault("get", "odd-state"))
    assert client.get(f"/vms/{made['id']}").json()["status"] == "quiescing"


def test_sold_out_by_a_fault_and_by_number(plain: Plain, client: httpx.Client) -> None:
    plain.app.faults.add(Fault("create", "no-capacity"))
    assert create(client).status_code == 418
    assert [create(client).status_code for _ in range(6)] == [201] * 5 + [418]
    assert (len(plain.cloud.ever), plain.cloud.capacity["gpu"]) == (5, 0)


def test_the_state_without_a_server() -> None:
    ended: list[str] = []
    ready: list[Address | None] = [None, Address("127.0.0.1", 2222)]
    cloud = Cloud(
        {"gpu": 1, "many": None},
        boot=lambda machine: ready.pop(0),
        halt=lambda machine: ended.append(machine.id),
        linger=1,
        boot_looks=1,
    )
    with pytest.raises(NoSuchOffer):
        cloud.launch("lyc-0a0a0a0a-00000001", "cpu")
    machine = cloud.launch("lyc-0a0a0a0a-00000001", "gpu")
    with pytest.raises(SoldOut):
        cloud.launch("lyc-0a0a0a0a-00000002", "gpu")
    seen = []
    for _ in range(3):
        cloud.advance()
        seen.append((machine.state, machine.address))
    creating = (MachineState.CREATING, None)
    assert seen == [creating, creating, (MachineState.RUNNING, Address("127.0.0.1", 2222))]
    assert cloud.end(machine.id) is machine
    assert (machine.state, ended, cloud.capacity["gpu"]) == (MachineState.ENDING, [machine.id], 1)
    cloud.advance()
    cloud.advance()
    assert (machine.state, cloud.alive(), cloud.end(machine.id)) == (MachineState.GONE, [], None)


def test_foreign_machines_and_things() -> None:
    cloud = Cloud({"gpu": None})
    theirs, many = cloud.put_foreign("mail"), cloud.put_many("0a0a0a0a", 300)
    assert (len(cloud.alive()), many[299].run_id, cloud.foreign_ended()) == (300, "0a0a0a0a-0000012b", [])
    cloud.end(theirs.id)
    assert cloud.foreign_ended() == [theirs]
    volume = cloud.put("volume", "lyc-0a0a0a0a-00000001", region="FIN-01", size=50)
    assert (volume.run_id, volume.region, volume.data) == ("0a0a0a0a-00000001", "FIN-01", {"size": 50})
    assert (cloud.things_of("key"), cloud.drop(volume.id), cloud.drop(volume.id)) == ([], volume, None)


def test_a_fake_that_breaks_says_so_itself(plain: Plain) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"), serve(plain.app) as base:
        httpx.get(f"{base}/broken", headers={"Authorization": "Bearer good"})


def test_nothing_stays_behind(plain: Plain) -> None:
    before = set(threading.enumerate())
    with serve(plain.app) as base, httpx.Client(base_url=base) as client:
        client.get("/vms")
        plain.app.faults.add(Fault("list", "slow", seconds=60))
        with pytest.raises(httpx.ReadTimeout):
            client.get("/vms", timeout=0.1)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
