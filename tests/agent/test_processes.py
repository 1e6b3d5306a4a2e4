"""Processes under real systemd: hardened, secret, started again, given up, stopped, and there again after a boot."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from lyc.agent.launch import CRASHES
from tests.agent.hosted import ROOT, SECRET, Hosted, Refusal, await_

pytestmark = pytest.mark.slow
CRASHES_AT_ONCE = ["/bin/sh", "-c", "echo cannot go on; exit 7"]


@pytest.fixture(scope="module", autouse=True)
def crashing(hosted: Hosted) -> str:
    """One that crashes from the beginning, while the other tests run."""
    hosted.start("crashing-1.1", argv=CRASHES_AT_ONCE, files={})
    return "crashing-1.1"


@pytest.fixture(scope="module")
def running(hosted: Hosted) -> Iterator[int | None]:
    """The port of one that only answers."""
    port = hosted.start("running-1.1")
    yield port
    hosted.call("stop", "running-1.1", "--grace", "5")


def test_it_is_started_once(hosted: Hosted, running: int | None) -> None:
    pid = hosted.status("running-1.1")["pid"]
    assert hosted.ask(running, "os.getpid()") == str(pid)
    assert hosted.start("running-1.1") == running
    known = {"state": "running", "pid": pid, "port": running, "starts": 1, "exit_code": None, "gave_up": False}
    assert known.items() <= hosted.status("running-1.1").items()


def test_owners_do_not_meet(hosted: Hosted, running: int | None) -> None:
    assert hosted.call("list", "another") == {"processes": []}
    with pytest.raises(Refusal) as refused:
        hosted.start("running-1.1", owner="another")
    assert refused.value.ref == "not-the-owner"
    assert hosted.ask(running, "1 + 1") == "2"


INSIDE = {
    "__import__('pwd').getpwuid(os.getuid()).pw_name": "'lyc'",
    "open('/proc/self/status').read().split('CapEff:')[1].split()[0]": "'0000000000000000'",
    "open('/proc/self/status').read().split('CapBnd:')[1].split()[0]": "'0000000000000000'",
    "open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0]": "'1'",
    "open('/etc/mine', 'w')": "OSError: [Errno 30] Read-only file system: '/etc/mine'",
    "open('/var/lib/lyc/agent/mine', 'w')": "OSError: [Errno 30] Read-only file system: '/var/lib/lyc/agent/mine'",
    "os.listdir('/root')": "PermissionError: [Errno 13] Permission denied: '/root'",
    "os.unlink('spec.json')": "PermissionError: [Errno 1] Operation not permitted: 'spec.json'",
    "open('engine.yaml').read()": "PermissionError: [Errno 13] Permission denied: 'engine.yaml'",
    "os.listdir('/var/lib/lyc/replicas')": "['running-1.1']",
    "os.listdir('/run/credentials')": "['lyc-replica@running-1.1.service']",
    "open('mine', 'w').write('1')": "1",
    "open('/var/lib/lyc/compiled/mine', 'w').write('1')": "1",
    "open(os.environ['HOME'] + '/mine', 'w').write('1')": "1",
    "open('/tmp/mine', 'w').write('1')": "1",
    "os.listdir('/tmp')": "['mine']",
    "subprocess.run(['unshare', '-U', 'true']).returncode": "1",
    "subprocess.run(['sudo', '-n', 'true']).returncode": "1",
    "[name for name in os.listdir('/proc') if name.isdigit() and os.stat(f'/proc/{name}').st_uid == 0]": "[]",
    "__import__('resource').getrlimit(__import__('resource').RLIMIT_CORE)": "(0, 0)",
    "__import__('socket').socket(17, 3)": "OSError: [Errno 97] Address family not supported by protocol",
    "os.environ['CUDA_VISIBLE_DEVICES'], os.environ['CUDA_DEVICE_ORDER']": "('', 'PCI_BUS_ID')",
    f"key == '{SECRET}'": "True",
}


def test_what_it_can_do_and_what_not(hosted: Hosted, running: int | None) -> None:
    assert hosted.ask(running, f"'\\n'.join(tried({[*INSIDE]!r}))") == repr("\n".join(INSIDE.values()))
    assert not (hosted.machine.root / "tmp/mine").exists()


def test_the_secret_is_nowhere_but_with_the_engine(hosted: Hosted, running: int | None) -> None:
    shell = hosted.machine.shell
    name, pid = "lyc-replica@running-1.1.service", hosted.status("running-1.1")["pid"]
    assert hosted.ask(running, "key") == repr(SECRET)
    for seen in (
        f"systemctl show {name}", f"systemctl cat {name}", f"cat /proc/{pid}/environ", f"cat /proc/{pid}/cmdline",
        "journalctl --no-pager --all", "ps -ef", f"cat {ROOT}/replicas/running-1.1/spec.json",
    ):  # fmt: skip
        assert SECRET not in shell(seen), seen
    places = shell(f"grep -rlF {SECRET} /etc /run /var/lib 2>/dev/null || true").split()
    assert sorted(places) == [f"/run/credentials/{name}/engine.yaml", f"{ROOT}/replicas/running-1.1/engine.yaml"]
    for place in places:
        with pytest.raises(RuntimeError, match="Permission denied"):
            shell(f"su plain -c 'cat {place}'")


def test_a_killed_engine_is_started_again_after_a_while(hosted: Hosted) -> None:
    port = hosted.start("killed-1.1")
    first = hosted.status("killed-1.1")["pid"]
    hosted.machine.shell(f"kill -KILL {first}")
    ended = hosted.reaches("killed-1.1", state="exited")
    assert (ended["exit_code"], ended["pid"], ended["starts"], ended["gave_up"]) == (-9, first, 1, False)
    with pytest.raises(Refusal) as refused:
        hosted.call("remove", "killed-1.1")
    assert refused.value.ref == "still-running"
    assert hosted.start("killed-1.1") == port
    again = hosted.reaches("killed-1.1", state="running", starts=2)
    assert again["pid"] != first
    assert hosted.ask(port, "os.getpid()") == str(again["pid"])
    hosted.call("stop", "killed-1.1", "--grace", "5")


FAMILY = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN)\n"
FAMILY += "subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM; while :; do sleep 600; done'], start_new_session=True)\n"
FAMILY += "print('up', flush=True); time.sleep(600)"


def test_who_does_not_listen_is_killed_with_all_his_children(hosted: Hosted) -> None:
    hosted.start("stubborn-1.1", argv=["/usr/bin/python3", "-c", FAMILY], files={})
    unit = "lyc-replica@stubborn-1.1.service"
    tasks = f"cat /sys/fs/cgroup/*/system.slice/*/{unit}/cgroup.procs /sys/fs/cgroup/system.slice/*/{unit}/cgroup.procs"
    await_(lambda: len(set(hosted.machine.shell(f"{tasks} 2>/dev/null || true").split())) == 3, "three processes")
    began = time.monotonic()
    assert hosted.call("stop", "stubborn-1.1", "--grace", "1")["process"]["exit_code"] == -9
    assert time.monotonic() - began < 8
    assert hosted.machine.shell(f"{tasks} 2>/dev/null || true").split() == []
    assert hosted.call("stop", "stubborn-1.1", "--grace", "1")["process"]["gave_up"] is True
    assert hosted.call("stop", "never-was.1", "--grace", "1") == {"process": None}


def test_nothing_is_left_of_a_removed_one(hosted: Hosted) -> None:
    hosted.start("removed-1.1")
    hosted.call("stop", "removed-1.1", "--grace", "5")
    left = f"ls -a {ROOT}/replicas /etc/systemd/system /etc/systemd/system/*.wants; systemctl list-units --all 'lyc-*'"
    assert "removed-1.1" in hosted.machine.shell(left)
    assert hosted.call("remove", "removed-1.1", "never-was.1") == {}
    assert "removed-1.1" not in hosted.machine.shell(left)
    assert hosted.status("removed-1.1")["state"] == "unknown here"


def test_a_start_that_is_killed_anywhere_is_done_by_the_next(hosted: Hosted) -> None:
    request = {"id": "often-1.1", "owner": "me", "argv": hosted.engine("often-1.1"), "files": {"engine.yaml": SECRET}}
    began = time.monotonic()
    hosted.call("list", "me")
    took = time.monotonic() - began  # about what a start takes
    for part in range(1, 9):
        script = f"timeout --signal=KILL {took * part / 8:.3f} {hosted.argv('start')}; true"
        hosted.machine.shell(script, stdin=json.dumps(request))
    port = hosted.start("often-1.1", env={}, devices=None)
    hosted.reaches("often-1.1", state="running")
    assert hosted.ask(port, "key") == repr(SECRET)
    assert hosted.machine.shell("pgrep -fc '^/usr/bin/python3 /srv/engine.py .*often-1.1'").strip() == "1"
    folder = hosted.machine.root / ROOT[1:] / "replicas/often-1.1"
    assert list(folder.glob(".*")) == []
    hosted.call("stop", "often-1.1", "--grace", "5")
    for half in (".engine.yaml.0123456789abcdef", ".spec.json.fedcba9876543210"):  # killed while it wrote
        (folder / half).write_text(SECRET)
    hosted.start("often-1.1")
    assert list(folder.glob(".*")) == []
    hosted.call("stop", "often-1.1", "--grace", "5")


def test_a_full_disk_delays_a_start_and_no_more(hosted: Hosted) -> None:
    hosted.start("full-1.1")
    first = hosted.status("full-1.1")["pid"]
    hosted.machine.fill()
    hosted.machine.shell(f"kill -KILL {first}")
    ended = hosted.reaches("full-1.1", state="exited")
    assert (ended["pid"], ended["gave_up"]) == (first, False)
    hosted.machine.unfill()
    assert hosted.reaches("full-1.1", state="running", starts=2)["pid"] != first
    hosted.call("stop", "full-1.1", "--grace", "5")


def test_bad_requests_do_nothing(hosted: Hosted) -> None:
    for request in (
        {"id": "../escape"}, {"id": "bad-1.1", "argv": []}, {"id": "bad-1.1", "argv": ["relative"]},
        {"id": "bad-1.1", "argv": ["/bin/true"], "owner": ""},
        {"id": "bad-1.1", "argv": ["/bin/true"], "owner": "me", "env": {"A": 1}},
        {"id": "bad-1.1", "argv": ["/bin/true"], "owner": "me", "files": {"../x": ""}},
        {"id": "bad-1.1", "argv": ["/bin/true"], "owner": "me", "files": {"spec.json": ""}},
    ):  # fmt: skip
        with pytest.raises(Refusal) as refused:
            hosted.call("start", request=request)
        assert refused.value.ref == "bad-request"
    assert hosted.status("bad-1.1")["state"] == "unknown here"


def test_one_that_cannot_be_executed_says_so(hosted: Hosted) -> None:
    hosted.start("absent-1.1", argv=["/srv/no-such-engine"], files={})
    assert hosted.reaches("absent-1.1", state="exited")["exit_code"] == 127
    hosted.call("stop", "absent-1.1", "--grace", "5")
    log = hosted.machine.shell("journalctl -u lyc-replica@absent-1.1.service --output=cat")
    assert "cannot execute /srv/no-such-engine: No such file or directory" in log


def test_killed_for_memory_is_said(hosted: Hosted) -> None:
    port = hosted.start("greedy-1.1")
    assert hosted.ask(port, "1")
    with hosted.memory_limit("greedy-1.1", 96 << 20):
        hosted.tell(port, "len(b'x' * (512 << 20))")
        assert hosted.reaches("greedy-1.1", state="exited")["exit_code"] == -9
    hosted.call("stop", "greedy-1.1", "--grace", "5")
    log = hosted.machine.shell("journalctl -u lyc-replica@greedy-1.1.service --output=cat")
    assert "lyc: killed for memory (OOM)" in log.splitlines()


def test_a_crash_loop_is_given_up(hosted: Hosted, crashing: str) -> None:
    ended = hosted.reaches(crashing, 60, state="exited", gave_up=True)
    assert (ended["exit_code"], ended["starts"]) == (7, CRASHES)
    log = hosted.machine.shell(f"journalctl -u lyc-replica@{crashing}.service --output=cat")
    assert log.count("cannot go on") == CRASHES
    assert [line.split()[-2] for line in log.splitlines() if "started again in" in line] == ["1", "2", "4", "8"]
    assert log.count("is not started again") == 1


def test_a_boot_brings_back_what_ran(hosted: Hosted, crashing: str) -> None:
    hosted.reaches(crashing, 60, state="exited", gave_up=True)
    port = hosted.start("booted-1.1")
    hosted.start("stopped-1.1")
    hosted.call("stop", "stopped-1.1", "--grace", "5")
    with hosted.watch() as before:
        before.until(lambda: before.lines("booted-1.1"), "its first words")
        mark = before.mark("booted-1.1")
    hosted.machine.reboot()
    again = hosted.reaches("booted-1.1", state="running", starts=2)
    assert (again["port"], again["gave_up"], again["rebooted"]) == (port, False, True)
    assert hosted.ask(port, "os.getpid()") == str(again["pid"])
    hosted.machine.power_cut()
    hosted.machine.start()
    hosted.machine.wait()
    last = hosted.reaches("booted-1.1", state="running", starts=3)
    assert last["rebooted"]
    assert hosted.ask(port, "os.getpid()") == str(last["pid"])
    assert (hosted.status("stopped-1.1")["state"], hosted.status("stopped-1.1")["gave_up"]) == ("exited", True)
    assert (hosted.status(crashing)["starts"], hosted.status(crashing)["gave_up"]) == (CRASHES, True)
    with hosted.watch({"booted-1.1": mark}) as after:
        ups = [f"up {again['pid']}", f"up {last['pid']}"]
        after.until(lambda: after.lines("booted-1.1") == ups, f"what it said since, which is {ups}")
    hosted.call("stop", "booted-1.1", "--grace", "5")
