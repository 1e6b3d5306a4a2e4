"""Engines in containers, on hosts of the lab with a real Podman: by systemd, and under the shim without root.

The image holds a stand-in for vLLM, whose own has more than 10 GB: `tests.agent.stand_in_image`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.agent.hosted import ENGINE, SECRET, Hosted, Refusal, await_
from tests.agent.stand_in_image import NAME as IMAGE
from tests.agent.stand_in_image import packed
from tests.lab import podman as lab_podman
from tests.lab.lab import Lab
from tests.lab.rootfs import rootfs

pytestmark = pytest.mark.slow
PLAIN_STORE = "/home/plain/.local/share/containers"
VALUE = "a value 'of' the #user"

REGISTRY = """
import http.server, json, pathlib
place = pathlib.Path("/srv/registry")
class Asked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rpartition("/")[2].removeprefix("sha256:")
        file = place / ("manifest.json" if "/manifests/" in self.path else name)
        if "/closed/" in self.path:
            return self.tell(401, b"{}", "application/json")
        if self.path != "/v2/" and ("/team/" not in self.path or self.path.endswith("/none") or not file.is_file()):
            return self.tell(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": ""}]}', "application/json")
        body = b"{}" if self.path == "/v2/" else file.read_bytes()
        self.tell(200, body, json.loads(body)["mediaType"] if file.suffix == ".json" else "application/octet-stream")
    do_HEAD = do_GET
    def tell(self, code, body, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")
http.server.ThreadingHTTPServer(("127.0.0.1", 5000), Asked).serve_forever()
"""
"""A registry that lends one image to all who ask for something of `team/`."""


class Contained(Hosted):
    """A host with Podman and the image."""

    pinned = ""

    def shell(self, script: str) -> str:
        """As whoever calls the program."""
        if self.prefix:
            script = f"{self.prefix} '{script}'"
        return self.machine.shell(script)

    def begin(self, identity: str) -> int | None:
        argv = ["python3", "-c", ENGINE, "{port}", f"{self.root}/replicas/{identity}/engine.yaml"]
        return self.start(identity, argv=argv, image=self.pinned, env={"USERS": VALUE})

    def containers(self) -> list[str]:
        return self.shell("cd /; podman ps --all --format {{.Names}}").split()


@pytest.fixture(scope="module")
def podman(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    base = rootfs()
    machine = lab.borrow(over=[lab_podman.layer()], plain=(lab_podman.STORE, PLAIN_STORE))[0]
    made = Contained(machine)
    made.install()
    shutil.copy(packed(base, tmp_path_factory.mktemp("image")), machine.root / "srv/image.tar")
    machine.shell(f"chmod 644 /srv/image.tar; podman import --quiet /srv/image.tar {IMAGE}")
    made.pinned = made.call("image", request={"image": IMAGE, "cards": False})["image"]
    yield made
    lab.give_back([machine], spoiled=True)


def test_an_engine_in_a_container_is_confined_and_keeps_its_secrets(podman: Contained) -> None:
    assert podman.pinned.startswith("localhost/lyc-engine@sha256:")
    port = podman.begin("inside-1")
    assert podman.ask(port, "key") == repr(SECRET)
    user = podman.shell("id -u lyc; id -g lyc").split()
    status = dict(
        line.split(":", 1) for line in str(eval(podman.ask(port, "open('/proc/self/status').read()"))).splitlines()
    )
    assert (status["Uid"].split()[0], status["Gid"].split()[0]) == tuple(user)
    assert status["CapBnd"].strip() == status["CapEff"].strip() == "0" * 16
    assert status["NoNewPrivs"].strip() == "1"
    for place in ("/x", f"{podman.root}/store/x", f"{podman.root}/replicas/inside-1/x"):
        assert "Read-only file system" in podman.tell(port, f"open({place!r}, 'w')")
    for place in ("/tmp/x", f"{podman.root}/compiled/x", f"{podman.root}/replicas/inside-1/home/x"):
        assert "TextIOWrapper" in podman.tell(port, f"open({place!r}, 'w')")
    assert podman.tell(port, "os.environ['USERS']") == repr(VALUE)
    assert podman.tell(port, "sorted(os.listdir('/var/lib/lyc'))") == "['compiled', 'replicas', 'store']"
    told = podman.shell("podman inspect lyc-inside-1; ps -ef; systemctl show lyc-replica@inside-1")
    assert SECRET not in told
    assert VALUE not in podman.shell("ps -ef; systemctl show lyc-replica@inside-1")
    assert podman.status("inside-1")["state"] == "running"
    assert podman.call("stop", "inside-1", "--grace", "10")["process"]["exit_code"] == -15
    assert podman.containers() == []
    podman.call("remove", "inside-1")
    assert "inside-1" not in podman.shell("ls /var/lib/lyc/replicas /etc/systemd/system")


def test_vllms_command_answers_with_its_key_and_its_log_is_the_journals(podman: Contained) -> None:
    config = f"{podman.root}/replicas/serves-1/engine.yaml"
    argv = ["vllm", "serve", "/model", "--host", "127.0.0.1", "--port", "{port}", "--config", config]
    files = {"engine.yaml": json.dumps({"api-key": SECRET})}
    with podman.watch() as watched:
        port = podman.start(
            "serves-1", argv=[*argv, "--served-model-name", "m"], files=files, image=podman.pinned, env={}
        )
        watched.until(lambda: any("listens" in line for line in watched.lines("serves-1")), "it listens")
        ask = f"curl -s -o /dev/null -w %{{http_code}} http://127.0.0.1:{port}/v1/models"
        assert podman.shell(ask) == "401"
        assert podman.shell(f"{ask} -H 'Authorization: Bearer {SECRET}'") == "200"
        podman.call("stop", "serves-1", "--grace", "10")
        assert watched.lines("serves-1")[0] == "stand-in serves /model"
        assert not [line for line in watched.lines("serves-1") if "container" in line]


def test_a_client_that_was_killed_leaves_no_container_and_is_begun_again(podman: Contained) -> None:
    port = podman.begin("killed-1")
    podman.ask(port, "1")
    first = podman.shell("podman inspect --format {{.Id}} lyc-killed-1")
    podman.shell(f"kill -KILL {podman.status('killed-1')['pid']}")
    podman.reaches("killed-1", state="running", starts=2)
    assert podman.ask(port, "key") == repr(SECRET)
    assert podman.shell("podman inspect --format {{.Id}} lyc-killed-1") != first
    assert podman.containers() == ["lyc-killed-1"]
    assert podman.begin("killed-1") == port
    podman.machine.reboot()
    podman.reaches("killed-1", state="running", starts=3)
    assert podman.ask(port, "key") == repr(SECRET)
    podman.call("stop", "killed-1", "--grace", "0")
    assert podman.containers() == []


def test_what_a_dead_keeper_left_behind_goes_with_the_next_start(podman: Contained) -> None:
    for name, label in (("lyc-gone-1", f"--label eu.lyc.root={podman.root}"), ("not-ours", "")):
        sleeps = f"{IMAGE} python3 -c 'import time; time.sleep(999)'"
        podman.shell(f"podman run -d --network host --stop-timeout 0 --name {name} {label} {sleeps}")
    podman.begin("next-1")
    podman.reaches("next-1", state="running")
    assert "lyc-gone-1" not in podman.containers()
    podman.call("stop", "next-1", "--grace", "1")
    assert podman.containers() == ["not-ours"]
    podman.shell("podman rm -f not-ours")


def test_without_root_podman_runs_it_under_the_shim(podman: Contained) -> None:
    podman.machine.shell("install -d -o plain /home/plain/lyc && chown -R plain: /home/plain/.local")
    plain = Contained(podman.machine, "su plain -c", "/home/plain/lyc")
    plain.shell(f"cd /; podman import --quiet /srv/image.tar {IMAGE}")
    plain.pinned = plain.call("image", request={"image": IMAGE, "cards": False})["image"]
    port = plain.begin("own-1")
    assert plain.ask(port, "os.getuid(), key") == repr((int(plain.shell("id -u")), SECRET))
    assert "Read-only file system" in plain.tell(port, "open('/x', 'w')")
    first = plain.status("own-1")
    plain.shell(f"kill -KILL {first['pid']}")
    assert plain.reaches("own-1", state="exited")["exit_code"] == -9
    assert plain.containers() == []
    port = plain.begin("own-1")
    plain.ask(port, "1")
    # Podman 4.3 without root tells of a signal that it passed on as of a clean end
    assert plain.call("stop", "own-1", "--grace", "10")["process"]["exit_code"] in (0, -15)
    assert plain.containers() == []


def test_an_image_is_pulled_pinned_and_goes_with_lyc(podman: Contained) -> None:
    root = podman.machine.root
    (root / "srv/registry.py").write_text(REGISTRY)
    conf = root / "etc/containers/registries.conf.d"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "lab.conf").write_text('[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n')
    podman.shell(f"podman push --quiet --format v2s2 {IMAGE} dir:/srv/registry")
    podman.shell("systemd-run --quiet --unit=registry python3 -I /srv/registry.py")
    await_(lambda: podman.shell("curl -s -o /dev/null -w %{http_code} 127.0.0.1:5000/v2/ || true") == "200", "it is up")
    request = {"image": "127.0.0.1:5000/team/engine:1", "cards": False}
    first = podman.call("image", request=request)
    assert first["pulled"]
    assert first["image"].startswith("127.0.0.1:5000/team/engine@sha256:")
    assert podman.call("image", request=request | {"image": first["image"]}) == first | {"pulled": False}
    for name, ref in (("team/engine:none", "no-such-image"), ("closed/engine:1", "image-denied")):
        with pytest.raises(Refusal) as caught:
            podman.call("image", request=request | {"image": f"127.0.0.1:5000/{name}"})
        assert caught.value.ref == ref
    assert "5000" in podman.shell("podman images")
    podman.call("purge", request={"owner": "me", "force": False})
    assert "5000" not in podman.shell("podman images")
    assert IMAGE.rpartition(":")[0] in podman.shell("podman images")


def test_what_cannot_be_is_said(podman: Contained) -> None:
    refusals = {
        "registry-unreachable": lambda: podman.call("image", request={"image": "127.0.0.1:5/team/none:1"}),
        "no-image": lambda: podman.start("none-1", argv=["vllm"], image="localhost/none:1"),
        "env-not-one-line": lambda: podman.start(
            "none-1", argv=["vllm"], image=podman.pinned, env={"TWO": "lines\nof it"}
        ),
    }
    for ref, act in refusals.items():
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.ref == ref
    assert podman.status("none-1")["state"] == "unknown here"


def test_a_host_without_a_runtime_says_so(hosted: Hosted) -> None:
    with pytest.raises(Refusal, match="no Docker and no Podman"):
        hosted.call("image", request={"image": IMAGE, "cards": False})
    with pytest.raises(Refusal, match="no Docker and no Podman"):
        hosted.start("bare-1", argv=["vllm", "serve"], image=IMAGE)
