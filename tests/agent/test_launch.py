"""What is decided of a process, without one: crashes, waiting, exit codes, statuses, units, cards."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lyc.agent.answer import Refused
from lyc.agent.cards import granted, variables
from lyc.agent.launch import CLEAN_SECONDS, crashes, exit_code, redirected, wait_seconds
from lyc.agent.status import Unit, asked, settled
from lyc.agent.units import drop_in, template

BOOT, SPEC = "boot-1", {"port": 21000, "socket": None}
RUNS = {"state": "running", "pid": 7, "starts": 3, "crashes": 2, "boot_id": BOOT, "uptime": 1000.0}


def end(**more: object) -> dict[str, object]:
    return {"pid": 7, "starts": 3, "code": 1, "at": 5.0, "seconds": 10.0} | more


def test_waiting_doubles_up_to_a_minute() -> None:
    assert [wait_seconds(number) for number in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_crashes_in_a_row_are_counted() -> None:
    assert crashes(None, None, BOOT, 1010.0) == 0
    assert crashes(RUNS, end(), BOOT, 1010.0) == 3
    assert crashes(RUNS, end(seconds=CLEAN_SECONDS), BOOT, 2000.0) == 1
    assert crashes(RUNS, end(code=0), BOOT, 1010.0) == 3  # unasked, as vLLM ends when its engine process was killed
    assert crashes(RUNS, end(starts=2), BOOT, 1010.0) == 3  # nobody noted the end of this one
    assert crashes(RUNS, None, BOOT, 1000.0 + CLEAN_SECONDS) == 1
    assert crashes(RUNS, end(), "boot-2", 5.0) == 0  # it ended with the machine
    assert crashes(RUNS | {"state": "waiting"}, end(), BOOT, 1010.0) == 2
    assert crashes(RUNS | {"state": "gave-up"}, end(), "boot-2", 5.0) == 2


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("exited", "0", 0), ("exited", "127", 127), ("killed", "KILL", -9), ("dumped", "ABRT", -6), ("", "", None),
     ("killed", "TERM", -signal.SIGTERM), ("killed", "RTMIN+2", None), ("exited", "", None)],
)  # fmt: skip
def test_exit_codes_as_systemd_tells_them(kind: str, status: str, code: int | None) -> None:
    assert exit_code(kind, status) == code


def test_private_files_are_named_where_they_are() -> None:
    moved = {"/r/a/engine.yaml": "/run/c/engine.yaml"}
    words = ["/r/a/engine.yaml", "--config=/r/a/engine.yaml", "/r/a/engine.yaml.bak", "/r/a/engine_yaml", "x"]
    assert [redirected(word, moved) for word in words] == [
        "/run/c/engine.yaml", "--config=/run/c/engine.yaml", "/r/a/engine.yaml.bak", "/r/a/engine_yaml", "x"
    ]  # fmt: skip


def told(record: dict[str, object], ended: dict[str, object] | None, unit: Unit) -> tuple[object, ...]:
    status = asked("a.1", SPEC, record, ended, unit)
    return status["state"], status["exit_code"], status["gave_up"]


def test_statuses() -> None:
    assert settled("a.1", SPEC, None, None, alive=False) == {
        "id": "a.1", "state": "absent", "pid": None, "exit_code": None, "ended_at": None, "port": 21000,
        "socket": None, "starts": 1, "gave_up": False, "crash_loop": False, "rebooted": False,
    }  # fmt: skip
    alive = settled("a.1", SPEC, RUNS, None, alive=True)
    assert alive is not None
    assert (alive["state"], alive["pid"], alive["starts"]) == ("running", 7, 3)
    waits = settled("a.1", SPEC, RUNS | {"state": "waiting", "pid": 9}, end(), alive=True)
    assert waits is not None
    assert (waits["state"], waits["pid"], waits["exit_code"], waits["gave_up"]) == ("exited", 7, 1, False)
    assert settled("a.1", SPEC, RUNS, end(), alive=False) is None


def test_statuses_that_systemd_settles() -> None:
    assert told(RUNS, None, Unit("deactivating", "stop-sigterm")) == ("running", None, False)
    assert told(RUNS, end(), Unit("activating", "auto-restart")) == ("exited", 1, False)
    assert told(RUNS, end(), Unit("failed", "failed")) == ("exited", 1, True)
    assert told(RUNS, None, Unit("inactive", "dead")) == ("exited", None, True)  # a power cut: nobody saw the end
    assert told(RUNS, None, Unit("inactive", "dead", job=True)) == ("exited", None, False)  # the boot gets there
    assert told(RUNS, None, Unit("failed", "failed", pid=7, code=2, status=9)) == ("exited", -9, True)
    assert told(RUNS, None, Unit("failed", "failed", pid=8, code=1, status=3)) == ("exited", None, True)
    assert told(RUNS | {"state": "gave-up"}, end(), Unit("activating", "start")) == ("exited", 1, True)


def test_only_who_died_too_often_is_not_to_be_tried_again() -> None:
    stopped = asked("a.1", SPEC, RUNS, end(), Unit("inactive", "dead"))
    looped = asked("a.1", SPEC, RUNS | {"state": "gave-up"}, end(), Unit("failed", "failed"))
    assert [(one["gave_up"], one["crash_loop"]) for one in (stopped, looped)] == [(True, False), (True, True)]


def test_units_take_no_path_that_needs_quoting() -> None:
    python, program = "/usr/bin/python3", "/r/a.pyz"
    assert f"\nExecStart={python} -I {program} --root /r launch %i %b\n" in template("/r", python, program)
    for root in ("/with space", "relative", "/per%cent", "/new\nline", '/quo"te', "/dol$lar"):
        with pytest.raises(ValueError, match="cannot stand"):
            template(root, python, program)


def test_what_one_replica_has_of_its_own() -> None:
    secrets, before = {"engine.yaml": Path("/r/x/engine.yaml")}, (("/bin/true", "-u"),)
    assert drop_in(secrets, ("/dev/char/195:1",), ("video",), before) == (
        "[Service]\nLoadCredential=engine.yaml:/r/x/engine.yaml\nDeviceAllow=/dev/char/195:1 rw\n"
        "SupplementaryGroups=video\nExecStartPre=-+/bin/true -u\n"
    )


INFORMATION = """Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 223
GPU UUID: \t GPU-00000000-0000-0000-0000-00000000000{minor}
Bus Location: \t 0000:{bus}:00.0
Device Minor: \t {minor}
GPU Excluded:\t No
"""


def test_an_engine_gets_its_cards_and_no_others(tmp_path: Path) -> None:
    for bus, minor in (("19", 2), ("3b", 0), ("4c", 1)):
        place = tmp_path / f"driver/nvidia/gpus/0000:{bus}:00.0"
        place.mkdir(parents=True)
        (place / "information").write_text(INFORMATION.format(bus=bus, minor=minor))
    shared = ("/dev/char/195:255", "/dev/char/195:254", "char-nvidia-uvm", "char-nvidia-caps")
    assert granted([0], tmp_path, tmp_path).devices == ("/dev/char/195:2", *shared)
    assert granted([1, 2], tmp_path, tmp_path).devices == ("/dev/char/195:0", "/dev/char/195:1", *shared)
    assert len(granted(None, tmp_path, tmp_path).devices) == 7
    assert granted([], tmp_path, tmp_path).devices == ()
    with pytest.raises(Refused) as refused:
        granted([3], tmp_path, tmp_path)
    assert refused.value.document["ref"] == "no-such-card"
    assert variables([2, 3], confined=False)["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert variables([2, 3], confined=True)["CUDA_VISIBLE_DEVICES"] == "0,1"  # of those that it can see
    assert variables(None, confined=True) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_cards_of_amd(tmp_path: Path) -> None:
    for node, simd, minor in ((0, 0, 0), (1, 1216, 128), (2, 1216, 136), (10, 1216, 144)):
        place = tmp_path / f"class/kfd/kfd/topology/nodes/{node}"
        place.mkdir(parents=True)
        (place / "properties").write_text(f"cpu_cores_count 0\nsimd_count {simd}\ndrm_render_minor {minor}\n")
    assert granted([0, 2], tmp_path, tmp_path).devices == ("/dev/kfd", "/dev/dri/renderD128", "/dev/dri/renderD144")


def test_a_machine_without_cards_grants_none(tmp_path: Path) -> None:
    assert granted([0], tmp_path, tmp_path).devices == ()


def test_what_ended_with_its_machine() -> None:
    """It goes down: what it stops comes back with it. It is up again: so it does, or it must be asked for."""
    stops, begins, over = Unit("inactive", "dead"), Unit("inactive", "dead", job=True), Unit("inactive", "dead")
    down = asked("a.1", SPEC, RUNS, end(), stops, going_down=True)
    coming = asked("a.1", SPEC, RUNS, end(), begins, rebooted=True)
    forgotten = asked("a.1", SPEC, RUNS, end(), over, rebooted=True)
    said = [(one["state"], one["rebooted"], one["gave_up"]) for one in (down, coming, forgotten)]
    assert said == [("exited", True, False), ("exited", True, False), ("exited", True, True)]
    looped = asked("a.1", SPEC, RUNS | {"state": "gave-up"}, end(), over, rebooted=True, going_down=True)
    assert (looped["rebooted"], looped["gave_up"], looped["crash_loop"]) == (False, True, True)


@pytest.mark.parametrize(("starts", "failed", "rebooted"), [(1, 0, False), (2, 0, True), (2, 1, False), (5, 0, True)])
def test_which_start_followed_a_boot(starts: int, failed: int, rebooted: bool) -> None:
    status = settled("a.1", SPEC, RUNS | {"starts": starts, "crashes": failed}, None, alive=True)
    assert status is not None
    assert (status["state"], status["rebooted"]) == ("running", rebooted)
