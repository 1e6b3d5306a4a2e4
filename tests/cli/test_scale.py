"""The verbs for replicas and releases, each as its user meets it, against a server that answers as told."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import pytest

from lyc.errors import NotFound, UsageError
from tests.cli.conftest import Controller, Home, deployment, wait_for

MISSING = {"error": NotFound("no-such-deployment", "there is no deployment 'a'", hint="lyc ls").document()}
BASE = "/v1/deployments/a"

SCALE = {
    "name": "a", "state": "ready", "release": 2, "paused": False,
    "policy": {"min": 0, "max": 4, "target_concurrency": None, "idle": 900.0, "idle_sleep": 300.0, "idle_release": None,
               "schedule": ["Mon-Fri 07-22 Europe/Berlin min=1"], "wake_timeout": 600.0},
    "bounds": {"min": 1, "max": 4}, "desired": 4, "ready": 3, "target": 16.0,
    "why": "4 of 4 (3 ready): 41 in flight / target 16, panic since 12 s", "last_request": None, "next_change": None,
    "wake": 41.0, "load": None, "canary": None,
    "replicas": [{"id": "a-2-abc", "release": 2, "state": "loading", "host": "local", "created_at": 1.0,
                  "ready_at": None, "error": None}],
}  # fmt: skip


def change(**fields: Any) -> dict[str, Any]:
    return {
        "name": "a", "dry_run": False, "changed": True, "changes": ["max: 1 → 4"], "steps": [], "release": 2,
        "operation": None,
    } | fields  # fmt: skip


DRY = change(
    dry_run=True,
    steps=[
        {"action": "create-replica", "subject": "2", "text": "add a replica of release 2"},
        {"action": "start-process", "subject": "a-2-new1", "text": "start the engine of a-2-new1"},
    ],
)


def test_scale_shows_what_it_does_and_why(home: Home, controller: Controller) -> None:
    controller.answers["GET", f"{BASE}/scale"] = (200, SCALE)
    code, out, err = home.run("scale", "a")
    assert (code, err) == (0, "")
    assert out == (
        "a\n"
        "  replicas   3 of 4 ready (min 1, max 4)\n"
        "  otherwise  min 0, max 4\n"
        "  why        4 of 4 (3 ready): 41 in flight / target 16, panic since 12 s\n"
        "  target     16 requests a replica, 75 % of what its plan can hold, or less if its engine bears less\n"
        "  idle       never at zero; none seen yet\n"
        "  schedule   Mon-Fri 07-22 Europe/Berlin min=1\n"
        "  wake       about 41.0s; a request waits 10m00s at most\n"
        "\n"
        "REPLICA  RELEASE  STATE    HOST   READY FOR\n"
        "a-2-abc  2        loading  local  -\n"
    )
    assert json.loads(home.run("scale", "a", "--json")[1]) == {"version": 1, **SCALE}
    assert controller.made("PATCH", f"{BASE}/scale") == []
    controller.answers["GET", f"{BASE}/scale"] = (
        200,
        SCALE | {
            "paused": True, "canary": 0.1, "bounds": {"min": 0, "max": 4}, "target": None, "wake": None,
            "wakes": {"asleep": 2.0, "stopped": 41.0, "released": 250.0, "new": 90.0},
            "warnings": ["the rule 'x' never holds"],
        },
    )  # fmt: skip
    told = home.run("scale", "a")[1]
    for line in (
        "wake       not measured yet (asleep: 2.0s, stopped: 41.0s, given back: 4m10s, first start: 1m30s)",
        "warning: the rule 'x' never holds",
        "why        paused: lyc resume a",
        "asleep after 5m00s, stopped after 15m00s without a request",
        "not measured yet",
        "canary     0.1 of the requests to release 2",
    ):
        assert line in told


def test_scale_sends_what_was_said_and_nothing_else(home: Home, controller: Controller) -> None:
    controller.answers |= {("GET", f"{BASE}/scale"): (200, SCALE), ("PATCH", f"{BASE}/scale"): (200, change())}
    code, out, err = home.run(
        "scale", "a", "--min", "0", "--max", "4", "--idle", "15m", "--target-concurrency", "16",
        "--wake-timeout", "90", "--schedule", "daily 1-2 UTC min=1", "--schedule", "Mon 3-4 UTC max=2",
    )  # fmt: skip
    assert (code, out.splitlines()[0], err) == (0, "a", "✓ a: max: 1 → 4\n")
    assert controller.made("PATCH", f"{BASE}/scale")[-1]["body"] == {
        "min": 0, "max": 4, "idle": 900.0, "wake_timeout": 90.0, "target_concurrency": 16.0, "dry_run": False,
        "schedule": ["daily 1-2 UTC min=1", "Mon 3-4 UTC max=2"],
    }  # fmt: skip
    home.run("scale", "a", "--idle-sleep", "never", "--idle-stop", "20m", "--idle-release", "1h")
    sent = controller.made("PATCH", f"{BASE}/scale")[-1]["body"]
    assert sent == {"idle_sleep": None, "idle": 1200.0, "idle_release": 3600.0, "dry_run": False}
    home.run("scale", "a", "--target-concurrency", "auto", "--no-schedule")
    sent = controller.made("PATCH", f"{BASE}/scale")[-1]["body"]
    assert sent == {"target_concurrency": None, "schedule": [], "dry_run": False}


@pytest.mark.parametrize(
    ("line", "ref"),
    [
        ("--idle x", "invalid-duration"),
        ("--wake-timeout -1s", "invalid-duration"),
        ("--target-concurrency many", "invalid-value"),
        ("--schedule a --no-schedule", "contradictory-schedule"),
        ("--dry-run", "nothing-to-change"),
        ("--min x", "invalid-value"),
        ("--min 1.5", "invalid-value"),
    ],
)
def test_scale_with_wrong_words_asks_nobody(home: Home, controller: Controller, line: str, ref: str) -> None:
    code, out, _ = home.run("scale", "a", *line.split(), "--json")
    assert (code, json.loads(out)["error"]["ref"]) == (2, ref)
    assert controller.calls == []


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("scale a --max 4", ("PATCH", "scale")),
        ("pause a", ("POST", "pause")),
        ("resume a", ("POST", "resume")),
        ("restart a", ("POST", "restart")),
        ("rollback a", ("POST", "rollback")),
        ("promote a", ("POST", "promote")),
        ("promote a --share 50%", ("POST", "canary")),
    ],
)
def test_a_dry_run_shows_each_act(home: Home, controller: Controller, line: str, call: tuple[str, str]) -> None:
    method, what = call
    controller.answers[method, f"{BASE}/{what}"] = (200, DRY)
    controller.answers["GET", BASE] = (200, deployment())
    code, out, err = home.run(*line.split(), "--dry-run")
    assert (code, out) == (0, "max: 1 → 4\n  add a replica of release 2\n  start the engine of a-2-new1\n")
    assert err == "this was a dry run: nothing was done\n"
    assert controller.calls[-1]["body"]["dry_run"] is True
    assert json.loads(home.run(*line.split(), "--dry-run", "--json")[1]) == {"version": 1, **DRY}
    controller.answers[method, f"{BASE}/{what}"] = (200, change(dry_run=True, changed=False, changes=[]))
    assert home.run(*line.split(), "--dry-run")[1] == "a is so already: nothing would be changed\n"


@pytest.mark.parametrize("line", ["scale a", "scale a --max 2", "pause a", "resume a", "restart a", "rollback a",
                                  "promote a", "releases a", "events a", "events a -f"])  # fmt: skip
def test_a_deployment_that_is_not_there(home: Home, controller: Controller, line: str) -> None:
    for what in ("", "/scale", "/pause", "/resume", "/restart", "/rollback", "/promote", "/releases", "/events"):
        for method in ("GET", "POST", "PATCH"):
            controller.answers[method, BASE + what] = (404, MISSING)
    assert home.run(*line.split()) == (
        1, "", "error[no-such-deployment]: there is no deployment 'a'\n\nhint: lyc ls\n"
    )  # fmt: skip


@pytest.mark.parametrize("line", ["scale a", "pause a", "releases a", "events a", "rollback a"])
def test_where_nothing_was_ever_deployed_no_controller_is_started(home: Home, line: str) -> None:
    (home.path / "lyc.db").unlink()
    code, _, err = home.run(*line.split())
    assert (code, err.splitlines()[0]) == (1, "error[no-such-deployment]: there is no deployment 'a'")
    assert not home.settings.controller_socket.exists()


def carried_out(controller: Controller, what: str, **result: Any) -> None:
    done = {"name": "a", "state": "ready", "url": "http://x", "release": 1, "ready": 1, "desired": 1, "seconds": 2.5}
    events = [
        {"seq": 1, "at": 0, "kind": "phase", "data": {"phase": "start engine", "status": "done", "seconds": 1.5}},
        {"seq": 2, "at": 0, "kind": "result", "data": done | result},
    ]
    controller.answers |= {
        ("POST", f"{BASE}/{what}"): (200, change(operation="op", changes=["release: 2 → 1"], release=1)),
        ("GET", "/v1/operations/op/events"): lambda _: (200, iter(events)),
    }


@pytest.mark.parametrize("what", ["rollback", "restart", "resume"])
def test_it_is_watched_until_it_serves(home: Home, controller: Controller, what: str) -> None:
    carried_out(controller, what)
    code, out, err = home.run(what, "a")
    assert (code, out) == (0, "")
    assert "start engine" in err
    assert "✓ a serves release 1, 2.5s" in err
    document = json.loads(home.run(what, "a", "--json")[1])
    assert (document["state"], document["release"], document["seconds"]) == ("ready", 1, 2.5)
    carried_out(controller, what, state="idle")
    assert "a is idle: release 1 comes up when it is woken" in home.run(what, "a")[2]


@pytest.mark.parametrize("what", ["rollback", "restart", "resume"])
def test_nobody_has_to_wait(home: Home, controller: Controller, what: str) -> None:
    carried_out(controller, what)
    code, out, _ = home.run(what, "a", "--no-wait", "--json")
    assert (code, json.loads(out)["operation"]) == (8, "op")
    assert controller.made("GET", "/v1/operations/op/events") == []
    assert home.run(what, "a", "--timeout", "soon")[0] == 2


def test_waiting_has_an_end(home: Home, controller: Controller) -> None:
    carried_out(controller, "rollback")

    def silent(_: Any) -> tuple[int, Any]:
        return 200, iter([b"\n"])

    controller.answers["GET", "/v1/operations/op/events"] = silent
    code, out, _ = home.run("rollback", "a", "--timeout", "1s", "--json")
    error = json.loads(out)["error"]
    assert (code, error["ref"], error["hint"]) == (8, "still-pending", "lyc status a")


def test_what_failed_is_told(home: Home, controller: Controller) -> None:
    carried_out(controller, "rollback")
    problem = UsageError("same-release", "a serves release 1 already", where="--to").document()
    controller.answers["POST", f"{BASE}/rollback"] = (400, {"error": problem})
    code, out, err = home.run("rollback", "a", "--to", "1")
    assert (code, out) == (2, "")
    assert err.startswith("error[same-release]: a serves release 1 already\n")
    assert controller.made("POST", f"{BASE}/rollback")[-1]["body"] == {"to": 1, "dry_run": False}


def test_pause_says_what_goes_on_costing(home: Home, controller: Controller) -> None:
    controller.answers |= {("POST", f"{BASE}/pause"): (200, change()), ("GET", BASE): (200, deployment())}
    code, out, err = home.run("pause", "a")
    assert (code, out, err) == (0, "", "✓ a is paused\nhint: lyc resume a\n")
    controller.answers["GET", BASE] = (200, deployment(rented=[{"provider": "p"}]))
    assert "goes on costing; lyc down a" in home.run("pause", "a")[2]
    controller.answers["POST", f"{BASE}/pause"] = (200, change(changed=False))
    document = json.loads(home.run("pause", "a", "--json")[1])
    assert document == {"version": 1, "name": "a", "state": "paused", "changed": False}


def test_a_share_is_a_part_of_the_requests(home: Home, controller: Controller) -> None:
    controller.answers["POST", f"{BASE}/canary"] = (200, change())
    assert home.run("promote", "a", "--share", "50%")[0] == 0
    assert controller.calls[-1]["body"] == {"share": 0.5, "dry_run": False}
    for wrong in ("50", "0%", "all"):
        code, out, _ = home.run("promote", "a", "--share", wrong, "--json")
        assert (code, json.loads(out)["error"]["where"]) == (2, "--share")


def test_releases(home: Home, controller: Controller) -> None:
    row = {"number": 2, "state": "active", "model": "hf:acme/a@" + "0" * 40, "host": "local", "gpu": "cpu",
           "image": None, "created_at": 1.0, "active_at": 2.0, "target": True, "serves": True, "share": 1.0, "ready": 1,
           "replicas": 1, "error": None}  # fmt: skip
    error = {"ref": "x", "what": "it broke", "why": "no memory"}
    old = row | {"number": 1, "state": "failed", "target": False, "serves": False, "share": 0.0, "ready": 0,
                 "replicas": 0, "active_at": None, "error": error}  # fmt: skip
    document = {"name": "a", "target": 2, "canary": None, "bake": 60.0, "releases": [row, old]}
    controller.answers["GET", f"{BASE}/releases"] = (200, document)
    code, out, err = home.run("releases", "a")
    assert (code, err) == (0, "hint: lyc rollback a --to N\n")
    lines = [re.split(r" {2,}", re.sub(r"\d+d\d+h", "[AGE]", line)) for line in out.splitlines()]
    assert lines == [
        ["RELEASE", "STATE", "READY", "REQUESTS", "AGE", "ACTIVATED", "GPU", "HOST", "MODEL"],
        ["*2", "active", "1/1", "100%", "[AGE]", "[AGE] ago", "cpu", "local", "hf:acme/a@00000000"],
        ["1", "failed", "-", "-", "[AGE]", "-", "cpu", "local", "hf:acme/a@00000000"],
        ["release 1 failed: it broke (no memory)"],
    ]
    assert json.loads(home.run("releases", "a", "--json")[1]) == {"version": 1, **document}


def entry(identity: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": identity, "at": 1.0, "deployment": "a", "actor": "user", "action": "scale", "subject": "",
        "cause": "max: 1 → 4", "result": "done", "detail": {},
    } | fields  # fmt: skip


ENTRIES = [
    entry(1),
    entry(2, actor="reconciler", action="start-process", subject="a-1-x", cause="start the engine of a-1-x"),
    entry(3, action="rollback", subject="1", cause="", result="interrupted"),
    entry(4, action="pause", cause="", result=None),
]


def test_events(home: Home, controller: Controller) -> None:
    controller.answers["GET", f"{BASE}/events"] = lambda _: (200, iter(ENTRIES))
    code, out, err = home.run("events", "a", "--tail", "7", "--since", "1h")
    assert (code, err) == (0, "")
    assert [line.split("  ", 1)[1] for line in out.splitlines()] == [
        "user        scale: max: 1 → 4",
        "reconciler  start the engine of a-1-x",
        "user        rollback 1  [interrupted]",
        "user        pause  [under way]",
    ]
    query = controller.calls[-1]["query"]
    assert "limit=7" in query
    assert "follow=false" in query
    assert "since=" in query
    told = [json.loads(line) for line in home.run("events", "a", "--json")[1].splitlines()]
    assert told == [{"version": 1, **one} for one in ENTRIES]
    assert home.run("events", "a", "--tail", "-1")[0] == 2
    assert home.run("events", "a", "--since", "yesterday")[0] == 2


def test_a_follower_of_events_outlives_the_controller_and_ends_on_ctrl_c(home: Home, controller: Controller) -> None:
    turns = iter([[ENTRIES[0]], [ENTRIES[1]]])
    controller.answers |= {
        ("GET", f"{BASE}/events"): lambda _: (200, iter(next(turns, []))),
        ("GET", BASE): (200, deployment()),
    }
    process = home.start("events", "a", "-f")
    calls = wait_for(lambda: len(controller.made("GET", f"{BASE}/events")) > 2 and controller.calls)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert len(out.splitlines()) == 2
    asked = [one["query"] for one in calls if one["path"].endswith("/events")]
    assert ["after=0" in asked[0], "after=1" in asked[1], "after=2" in asked[2]] == [True, True, True]


def test_a_follower_of_events_ends_with_its_deployment(home: Home, controller: Controller) -> None:
    controller.answers |= {
        ("GET", f"{BASE}/events"): lambda _: (200, iter([ENTRIES[0]])),
        ("GET", BASE): (404, MISSING),
    }
    code, out, err = home.run("events", "a", "-f")
    assert (code, len(out.splitlines())) == (1, 1)
    assert err.startswith("error[no-such-deployment]")


def test_deploy_takes_them_too(home: Home, controller: Controller) -> None:
    controller.answers["PUT", "/v1/deployments/a"] = (202, {"operation": "op"})
    code, _, _ = home.run(
        "deploy", "acme/a", "--name", "a", "--no-wait", "--min", "0", "--max", "4", "--idle-stop", "5m",
            "--idle-sleep", "never", "--wake-timeout",
        "90s", "--target-concurrency", "8", "--schedule", "daily 07-22 UTC min=1", "--canary", "10%", "--bake", "2m",
    )  # fmt: skip
    assert code == 8
    scale = controller.calls[-1]["body"]["spec"]["scale"]
    assert {key: value for key, value in scale.items() if key != "schedule"} == {
        "minimum": 0, "maximum": 4, "target_concurrency": 8.0, "idle": 300.0, "wake_timeout": 90.0, "canary": 0.1,
        "bake": 120.0, "idle_sleep": float("inf"), "idle_release": None, "hosts": None,
    }  # fmt: skip
    assert [rule["text"] for rule in scale["schedule"]] == ["daily 07-22 UTC min=1"]
    for words, where in ((["--canary", "100%"], "--canary"), (["--idle", "0"], "--idle"),
                         (["--schedule", "x"], "--schedule"), (["--min", "3", "--max", "2"], "--min")):  # fmt: skip
        code, out, _ = home.run("deploy", "acme/a", *words, "--json")
        assert (code, json.loads(out)["error"]["where"]) == (3, where)
