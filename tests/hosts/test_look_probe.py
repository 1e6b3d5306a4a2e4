"""The probe as real shells run it here, and its reading of any output at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.hosts import look
from lyc.hosts.look.facts import parse
from lyc.hosts.look.look import without_credentials
from lyc.hosts.look.sections import Sections, split
from lyc.hosts.look.system import reaches, skew
from lyc.records.host import RemoteFacts

PROBE = Path(look.__file__).with_name("probe.sh")
SHELLS = [
    pytest.param(words, marks=pytest.mark.skipif(shutil.which(words[0]) is None, reason=f"no {words[0]} here"))
    for words in (["sh"], ["dash"], ["bash", "--posix"], ["busybox", "sh"], ["ksh"], ["mksh"])
]
NAMES = ("begin", "identity", "release", "boot", "processors", "memory", "groups", "disks", "libc", "init", "container",
         "rights", "docker", "podman", "toolkit", "pci", "module", "cards", "cuda", "list", "mig", "apps", "tools",
         "reach", "end")  # fmt: skip


def probe(shell: list[str], urls: list[str], **environ: str) -> str:
    """What one run prints. Nothing may be said outside of a section."""
    done = subprocess.run(
        [*shell, "-s", "--", "n0nce", *urls], input=PROBE.read_bytes(), capture_output=True, timeout=60, check=True,
        env=dict(os.environ) | environ,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout.decode()


def read(output: str, urls: list[str]) -> RemoteFacts:
    sections = split(output, "n0nce")
    assert sections.whole
    return parse(sections, urls, sent=0.0, received=2e9)


@pytest.fixture
def web() -> Iterator[str]:
    """A server that answers everything with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_tells_of_this_machine(shell: list[str], web: str) -> None:
    closed = "http://127.0.0.1:9/"
    facts = read(probe(shell, [web, closed]), [web, closed])
    uname = os.uname()
    assert (facts.system, facts.kernel, facts.machine) == (uname.sysname, uname.release, uname.machine)
    assert facts.home == os.environ["HOME"]
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.cpus
    assert facts.cpus <= len(os.sched_getaffinity(0))
    assert facts.memory_total
    (home,) = [disk for disk in facts.disks if disk.path == facts.home]
    assert home.total == pytest.approx(shutil.disk_usage(facts.home).total, rel=0.01)
    assert facts.libc
    assert ("rsync" in facts.missing) == (shutil.which("rsync") is None)
    assert facts.reaches == {web: True, closed: False}


def smi(folder: Path, script: str) -> str:
    """A PATH on which `nvidia-smi` is this script."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + script)
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_driver_that_does_not_know_a_field_still_tells_of_its_cards(shell: list[str], tmp_path: Path) -> None:
    path = smi(
        tmp_path / "bin",
        'case "$*" in\n'
        "*compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;;\n"
        "*name,memory.total*) echo 'Tesla T4, 15109, 15106, Tesla T4, GPU-1, 450.80.02';;\nesac\n",
    )
    facts = read(probe(shell, [], PATH=path), [])
    assert [(card.name, card.compute_capability) for card in facts.accelerators] == [("t4", 75)]
    assert facts.driver == "450.80.02"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_status_of_nvidia_smi_is_kept(shell: list[str], tmp_path: Path) -> None:
    path = smi(tmp_path / "bin", "echo 'Unable to determine the device handle: GPU is lost'; exit 15\n")
    facts = read(probe(shell, [], PATH=path), [])
    assert (facts.gpu_status, facts.gpu_problem) == (15, "Unable to determine the device handle: GPU is lost")


def test_a_command_cannot_eat_the_script_nor_forge_a_mark(tmp_path: Path) -> None:
    path = smi(tmp_path / "bin", "cat; printf '\\n@@lyc:other:end\\n1\\n\\n@@lyc:other:=0\\n'\n")
    output = probe(["sh"], [], PATH=path)
    assert split(output, "n0nce").whole
    assert not split(output, "other")["identity"].text


def test_all_sections_come_with_a_status() -> None:
    sections = split("Last login: Mon\n" + probe(["sh"], []), "n0nce")
    assert [name for name in NAMES if sections[name].code is None] == []


@given(st.dictionaries(st.sampled_from(NAMES), st.tuples(st.text(), st.integers(0, 255))))
def test_any_output_becomes_facts(printed: dict[str, tuple[str, int]]) -> None:
    """No text of any tool may raise; what stands in a section comes out of it unchanged."""
    output = "".join(f"\n@@lyc:x:{name}\n{text}\n@@lyc:x:={code}\n" for name, (text, code) in printed.items())
    sections = split(output, "x")
    for name, (text, code) in printed.items():
        assert (sections[name].text, sections[name].code) == (text, code)
    parse(sections, ("http://a", "http://b"), sent=1.0, received=2.0)


@given(st.text(alphabet=st.sampled_from("0123456789 kBGPU-,.[]/%:\nNVIDIA|levelmemory.max"), max_size=400))
def test_any_figures_become_facts(text: str) -> None:
    body = "".join(f"\n@@lyc:x:{name}\n{text}\n@@lyc:x:=0\n" for name in NAMES)
    facts = parse(split(body, "x"), ("http://a",), sent=1.0, received=2.0)
    assert facts.cpus is None or facts.cpus >= 1
    assert all(disk.free >= 0 for disk in facts.disks)


def test_an_output_that_broke_off() -> None:
    sections = split("\n@@lyc:x:identity\nsystem Linux\nuser ann", "x")
    assert (sections.begun, sections.whole) == (True, False)
    assert sections["identity"].values() == {"system": "Linux", "user": "ann"}
    assert not split("This account is currently not available.\n", "x").begun


@given(
    offset=st.floats(-1e5, 1e5), there=st.floats(0, 30), way=st.floats(0, 5), back=st.floats(0, 5),
)  # fmt: skip
def test_the_difference_of_clocks_is_never_overstated(offset: float, there: float, way: float, back: float) -> None:
    """Whatever part of the round trip each way takes: the true difference is at least as large, and off by no more."""
    sent = 1.7e9
    begin, end = sent + way + offset, sent + way + there + offset
    received = sent + way + there + back
    output = f"\n@@lyc:x:begin\n{begin:.6f}\n@@lyc:x:=0\n\n@@lyc:x:end\n{end:.6f}\n@@lyc:x:=0\n"
    sections = split(output, "x")
    found = skew(sections["begin"], sections["end"], sent, received)
    assert found is not None
    assert abs(found) <= abs(offset) + 1e-4
    assert abs(found - offset) <= max(way, back) + 1e-4


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0 curl 0", {"a": True}),
        ("0 curl 28\n1 curl 0", {"a": False, "b": True}),
        ("0 wget 8", {"a": True}),
        ("0 wget 4", {"a": False}),
        ("0 none 0", {}),
        ("7 curl 0", {}),
    ],
)
def test_what_answered(said: str, expected: dict[str, bool]) -> None:
    sections: Sections = split(f"\n@@lyc:x:reach\n{said}\n@@lyc:x:=0\n", "x")
    assert reaches(sections["reach"], ("a", "b")) == expected


def test_credentials_of_an_index_stay_here() -> None:
    assert without_credentials("https://user:tok%40en@pypi.example.eu:8443/simple?x=1") == (
        "https://pypi.example.eu:8443/simple"
    )
