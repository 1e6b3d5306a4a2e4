"""The supervisor with real processes: adoption, kills at every place, strays, logs, exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lyc.hosts.local import MARK, LocalSupervisor
from lyc.records.process import ProcessSpec
from lyc.records.secret import Secret

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(600)
"""


def wait_for(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[LocalSupervisor]:
    supervisor = LocalSupervisor(tmp_path)
    yield supervisor
    supervisor.reap(supervisor.stray([]))
    assert supervisor.stray([]) == []


def python(tmp_path: Path, code: str, name: str = "p") -> ProcessSpec:
    return ProcessSpec(name, tmp_path / name, (sys.executable, "-c", code), {"PATH": os.defpath})


def output(spec: ProcessSpec) -> str:
    log = spec.directory / "output.log"
    return log.read_text() if log.exists() else ""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_output_has_times_and_the_exit_code_is_kept(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, "import sys; print('one'); print('10%\\r20%', file=sys.stderr); sys.exit(7)")
    supervisor.start(spec)
    wait_for(lambda: supervisor.status(spec.directory).state == "exited")
    status = supervisor.status(spec.directory)
    assert status.exit_code == 7
    assert status.ended_at is not None
    lines = output(spec).splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["10%", "20%", "one"]
    assert all(line[10] == "T" and line.split(" ")[0].endswith("Z") for line in lines)


def test_a_set_of_cards_is_all_that_the_process_sees(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('CUDA_DEVICE_ORDER'))"
    chosen = dataclasses.replace(python(tmp_path, code, "chosen"), devices=(1, 3))
    left = python(tmp_path, code, "left")
    for spec, seen in ((chosen, "1,3 PCI_BUS_ID"), (left, "None None")):
        supervisor.start(spec)
        wait_for(lambda spec=spec: supervisor.status(spec.directory).state == "exited")  # type: ignore[misc]
        assert output(spec).split(" ", 1)[1] == f"{seen}\n"


def test_starting_twice_gives_one_process(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, "import time; print('up', flush=True); time.sleep(600)")
    supervisor.start(spec)
    first = supervisor.status(spec.directory).pid
    LocalSupervisor(tmp_path).start(spec)
    assert supervisor.status(spec.directory).pid == first
    wait_for(lambda: "up" in output(spec))
    assert output(spec).count("up") == 1
    supervisor.stop(spec.directory, grace=5)


def test_a_process_ends_with_all_its_descendants(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, FAMILY)
    supervisor.start(spec)
    wait_for(lambda: "child" in output(spec))
    child = int(output(spec).split()[-1])
    supervisor.stop(spec.directory, grace=5)
    assert supervisor.status(spec.directory).exit_code == -signal.SIGTERM
    assert not alive(child)


TITLED = """
import ctypes, os, subprocess, sys, time
child = os.fork()
if child == 0:  # as setproctitle does: the environment's own memory is written over
    text = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
    begin, end = int(text[47]), int(text[48])
    ctypes.memset(begin, 0, end - begin)
    time.sleep(600)
print("child", child, flush=True)
time.sleep(600)
"""


def test_a_child_that_wrote_over_its_environment_is_still_known(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, TITLED)
    supervisor.start(spec)
    wait_for(lambda: "child" in output(spec))
    child = int(output(spec).split()[-1])
    wait_for(lambda: MARK.encode() not in Path(f"/proc/{child}/environ").read_bytes())
    os.kill(json.loads((spec.directory / "process.json").read_text())["shim"], signal.SIGKILL)
    wait_for(lambda: supervisor.status(spec.directory).state == "exited")
    assert alive(child)
    assert child in supervisor.stray([])
    supervisor.stop(spec.directory, grace=0)
    assert not alive(child)


@pytest.mark.parametrize("victim", ["pid", "shim"])
def test_killing_the_leader_or_its_shim_leaves_nothing(
    supervisor: LocalSupervisor, tmp_path: Path, victim: str
) -> None:
    spec = python(tmp_path, FAMILY)
    supervisor.start(spec)
    wait_for(lambda: "child" in output(spec))
    record = json.loads((spec.directory / "process.json").read_text())
    os.kill(record[victim], signal.SIGKILL)
    wait_for(lambda: supervisor.status(spec.directory).state == "exited")
    assert not alive(record["pid"])
    # The grandchild of a killed shim is a stray by its mark, and the sweep finds it; else the shim has buried it.
    strays = supervisor.stray([])
    supervisor.reap(strays)
    assert not alive(int(output(spec).split()[-1]))
    assert supervisor.stray([]) == []


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(
        tmp_path, "import signal,time; signal.signal(15, signal.SIG_IGN); print('up',flush=True); time.sleep(600)"
    )
    supervisor.start(spec)
    wait_for(lambda: "up" in output(spec))
    supervisor.stop(spec.directory, grace=0.3)
    assert supervisor.status(spec.directory).exit_code == -signal.SIGKILL


def test_it_survives_the_process_that_started_it(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, "import time; time.sleep(600)")
    code = (
        "import sys; from pathlib import Path; from lyc.hosts.local import LocalSupervisor; from lyc.records.process "
        "import ProcessSpec; LocalSupervisor(Path(sys.argv[1])).start(ProcessSpec('p', Path(sys.argv[1])/'p', "
        "(sys.executable,'-c','import time; time.sleep(600)'), {})); import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert supervisor.status(spec.directory).state == "running"
    assert supervisor.stray([spec.directory]) == []
    assert supervisor.stray([]) != []
    supervisor.stop(spec.directory, grace=5)


def test_secrets_go_to_private_files_and_not_to_the_process_list(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    secret = tmp_path / "p" / "engine.yaml"
    spec = ProcessSpec(
        "p",
        tmp_path / "p",
        (sys.executable, "-c", "import time; time.sleep(600)"),
        {},
        {secret: Secret("s3cr3t-value")},
    )
    supervisor.start(spec)
    assert secret.read_text() == "s3cr3t-value"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o700
    for process in psutil.process_iter(["cmdline", "environ"]):
        assert "s3cr3t-value" not in str(process.info)
    supervisor.stop(spec.directory, grace=5)


def test_an_executable_that_is_missing_ends_with_127_and_says_so(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = ProcessSpec("p", tmp_path / "p", ("/nonexistent/vllm",), {})
    supervisor.start(spec)
    wait_for(lambda: supervisor.status(spec.directory).state == "exited")
    assert supervisor.status(spec.directory).exit_code == 127
    assert "/nonexistent/vllm" in output(spec)


def test_a_record_of_another_boot_is_not_adopted(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    directory = tmp_path / "old"
    directory.mkdir()
    record = {"pid": os.getpid(), "start_ticks": 1, "boot_id": "another", "shim": os.getpid()}
    (directory / "process.json").write_text(json.dumps(record))
    status = supervisor.status(directory)
    assert (status.state, status.rebooted) == ("exited", True)
    supervisor.stop(directory, grace=0.1)
    assert alive(os.getpid())
    assert MARK not in os.environ


def test_the_log_rotates(supervisor: LocalSupervisor, tmp_path: Path) -> None:
    spec = python(tmp_path, "import sys\nfor i in range(3000): sys.stdout.write('y' * 8000 + chr(10))")
    supervisor.start(spec)
    wait_for(lambda: supervisor.status(spec.directory).state == "exited", 60)
    assert (spec.directory / "output.log.1").exists()
    total = sum(path.stat().st_size for path in spec.directory.glob("output.log*"))
    assert 3000 * 8000 <= total <= 3000 * 8100
