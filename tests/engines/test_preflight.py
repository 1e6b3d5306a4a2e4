"""The table of checks where the files of `tests/hosts/facts` do not reach: figures at their edges."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.engines import requirements
from lyc.engines.preflight import Needs, engine_for, preflight, refuse, typed, verdict
from lyc.engines.versions import pinned
from lyc.errors import Failed
from lyc.records.host import Check, CheckState, Disk, RemoteFacts
from lyc.records.plan import Accelerator
from lyc.units import GIB

CARD = Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 80 * GIB, 90, "GPU-1")
GOOD = RemoteFacts(
    "h", "Debian GNU/Linux 12", "6.1", "x86_64", "root", "/root", "b", 8, 64 * GIB, 60 * GIB,
    (Disk("/root", GIB, GIB), Disk("/var/lib", 500 * GIB, 400 * GIB)),
    cpu_flags=frozenset({"avx2"}), libc="glibc 2.36", accelerators=(CARD,),
    driver="580.95.05", cuda=(13, 0), systemd=252, sudo="free", clock_skew=0.0, reaches={"https://a": True},
    system="Linux", os_id="debian", home_writable=True, gpus_seen=1,
)  # fmt: skip


def state(name: str, needs: Needs | None = None, **changes: Any) -> CheckState | None:
    checks = preflight("gpu1", replace(GOOD, **changes), needs or Needs())
    return next((check.state for check in checks if check.name == name), None)


def test_a_host_without_fault() -> None:
    checks = preflight("gpu1", GOOD)
    assert verdict(checks) is CheckState.PASSED
    assert all(check.remedy == "" for check in checks)


FAILED, WARNING, UNKNOWN, PASSED = CheckState


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("libc", {"libc": "glibc 2.31"}, PASSED),
        ("libc", {"libc": "glibc 2.30"}, FAILED),
        ("libc", {"libc": "glibc 2.31", "machine": "aarch64"}, FAILED),
        ("libc", {"libc": "glibc 2.34", "machine": "aarch64"}, PASSED),
        ("libc", {"libc": "musl"}, FAILED),
        ("libc", {"libc": None}, UNKNOWN),
        ("system", {"machine": "riscv64"}, FAILED),
        ("driver", {"cuda": (12, 9)}, FAILED),
        ("driver", {"cuda": (13, 1), "driver": "535.1"}, PASSED),  # with the compatibility package
        ("driver", {"cuda": None, "driver": "580.65.06"}, PASSED),
        ("driver", {"cuda": None, "driver": "580.64"}, FAILED),
        ("driver", {"cuda": None, "driver": None}, UNKNOWN),
        ("driver", {"accelerators": (), "gpus_seen": 0}, None),
        ("capability", {"accelerators": (replace(CARD, compute_capability=75),)}, PASSED),
        ("capability", {"accelerators": (CARD, replace(CARD, compute_capability=70))}, FAILED),
        ("capability", {"accelerators": (replace(CARD, compute_capability=None),)}, UNKNOWN),
        ("gpu", {"accelerators": (), "gpus_seen": 0}, WARNING),
        ("gpu", {"accelerators": (), "gpus_seen": 2}, FAILED),
        ("gpu-memory", {"accelerators": (CARD, replace(CARD, memory_free=GIB))}, WARNING),
        ("gpu-memory", {"accelerators": (replace(CARD, memory_free=GIB),)}, FAILED),
        ("gpu-memory", {"accelerators": (replace(CARD, memory_free=70 * GIB),)}, WARNING),
        ("gpu-memory", {"accelerators": (replace(CARD, memory_total=0, memory_free=0),)}, None),
        ("memory", {"memory_available": 4 * GIB}, WARNING),
        ("memory", {"memory_total": 2 * GIB}, FAILED),
        ("memory", {"memory_available": None}, UNKNOWN),
        ("home", {"home_writable": False, "sudo": "none"}, FAILED),
        ("home", {"home_writable": False}, None),  # with root nothing goes there
        ("home", {"home_writable": None}, None),
        ("disk", {"disks": (Disk("/var/lib", 500 * GIB, GIB),)}, FAILED),
        ("disk", {"disks": (Disk("/var/lib", 500 * GIB, 10 * GIB),)}, WARNING),
        ("disk", {"disks": (Disk("/", 12 * GIB, 10 * GIB),)}, FAILED),
        ("disk", {"disks": ()}, UNKNOWN),
        ("disk", {"sudo": "password"}, FAILED),  # then it is the home that counts
        ("tools", {"missing": ("rsync", "clang", "uv")}, PASSED),
        ("tools", {"missing": ("cc", "gcc", "clang")}, FAILED),
        ("tools", {"missing": ("cc", "gcc")}, PASSED),
        ("tools", {"missing": ("libnuma.so.1",)}, PASSED),
        ("tools", {"missing": ("libnuma.so.1",), "accelerators": (), "gpus_seen": 0}, FAILED),
        ("rights", {"sudo": "password", "user": "anna"}, WARNING),
        ("systemd", {"systemd": 246}, WARNING),
        ("systemd", {"systemd": None}, WARNING),
        ("clock", {"clock_skew": -29.0}, PASSED),
        ("clock", {"clock_skew": 31.0}, WARNING),
        ("clock", {"clock_skew": -301.0}, FAILED),
        ("clock", {"clock_skew": None}, UNKNOWN),
        ("network", {"reaches": {"https://a": True, "https://b": False}}, WARNING),
        ("network", {"reaches": {}}, UNKNOWN),
        ("mig", {"mig": True}, WARNING),
        ("mig", {}, None),
        ("cpu", {"accelerators": (), "gpus_seen": 0, "cpu_flags": frozenset({"sse2"})}, FAILED),
        ("cpu", {"accelerators": (), "gpus_seen": 0, "cpu_flags": frozenset()}, UNKNOWN),
        ("cpu", {"accelerators": (), "gpus_seen": 0, "cpu_flags": frozenset({"asimd"})}, PASSED),
    ],
)
def test_edges(name: str, changes: dict[str, Any], expected: CheckState | None) -> None:
    assert state(name, **changes) is expected


def test_weights_count_on_the_disk() -> None:
    assert state("disk", Needs(weights=100 * GIB, model="acme/x")) is PASSED
    assert state("disk", Needs(weights=399 * GIB, model="acme/x")) is FAILED


def test_an_engine_that_is_there_takes_no_more_room() -> None:
    small = {"disks": (Disk("/var/lib", 500 * GIB, 10 * GIB),)}
    assert state("disk", Needs(installed=True), **small) is PASSED
    assert state("disk", Needs(installed=True, weights=9 * GIB), **small) is FAILED


def test_an_engine_in_a_container_brings_its_libraries() -> None:
    needs = Needs(container=True)
    assert state("libc", needs, libc="musl") is None
    assert state("tools", needs, missing=("cc", "gcc", "clang")) is None
    assert state("runtime", needs) is FAILED
    assert state("runtime", needs, runtimes={"docker": "28"}) is WARNING  # without NVIDIA's toolkit
    assert state("runtime", needs, runtimes={"podman": "5"}, toolkit="1.17") is PASSED
    assert state("runtime", needs, runtimes_denied={"docker": "no"}, toolkit="1.17") is PASSED
    denied = {"runtimes_denied": {"docker": "no"}, "sudo": "none", "user": "anna"}
    (check,) = [c for c in preflight("gpu1", replace(GOOD, **denied), needs) if c.name == "runtime"]  # type: ignore[arg-type]
    assert (check.state, "usermod -aG docker anna" in check.remedy) == (FAILED, True)
    assert state("runtime", runtimes={}) is None


def test_cards_do_not_count_for_an_engine_on_the_cpu() -> None:
    needs = Needs(engine=pinned(on_cpu=True))
    broken = {"accelerators": (), "gpu_problem": "NVML", "gpu_status": 18}
    assert state("gpu", **broken) is FAILED
    assert state("gpu", needs, **broken) is None
    refuse("gpu1", preflight("gpu1", replace(GOOD, **broken), needs))  # type: ignore[arg-type]


def test_a_deploy_is_refused_with_what_is_wrong_and_what_to_type() -> None:
    refuse("gpu1", preflight("gpu1", replace(GOOD, clock_skew=None, sudo="password", disks=())))
    busy = preflight("gpu1", replace(GOOD, accelerators=(replace(CARD, memory_free=GIB),)))
    assert verdict(busy) is FAILED
    refuse("gpu1", busy)  # the plan tells that with figures
    with pytest.raises(Failed) as caught:
        refuse("gpu1", preflight("gpu1", replace(GOOD, cuda=(12, 4))))
    one = caught.value
    assert (one.ref, one.exit_code, len(one.detail)) == ("host-unfit", 1, 1)
    assert one.hint
    assert one.hint in one.detail[0]
    with pytest.raises(Failed) as caught:
        refuse("gpu1", preflight("gpu1", replace(GOOD, cuda=(12, 4), libc="musl")))
    assert [line.split(":")[0] for line in caught.value.detail] == ["libc", "driver"]
    assert "lyc hosts check gpu1" in caught.value.hint


def test_the_pinned_engine_is_the_one_that_is_checked_for() -> None:
    """Should a new pin come with another CUDA, the table of drivers must know it."""
    cuda = requirements.cuda(pinned(on_cpu=False))
    assert cuda is not None
    assert cuda[0] in requirements.DRIVERS
    assert requirements.cuda(pinned(on_cpu=True)) is None
    assert engine_for(replace(GOOD, accelerators=(), gpus_seen=0)).on_cpu
    assert not engine_for(replace(GOOD, accelerators=(), gpu_problem="x")).on_cpu


@pytest.mark.parametrize(
    ("remedy", "expected"),
    [
        ("$ df -h /root", "lyc hosts ssh gpu1 -- df -h /root"),
        ("$ a | b", "lyc hosts ssh gpu1 -- 'a | b'"),
        ("$ ls -ld ~", "lyc hosts ssh gpu1 -- 'ls -ld ~'"),
        ("lyc ls", "lyc ls"),
        ("", ""),
    ],
)
def test_a_command_for_the_host_is_one_to_type_here(remedy: str, expected: str) -> None:
    assert typed("gpu1", remedy) == expected


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "system": st.sampled_from(["", "Linux", "Darwin"]),
            "machine": st.sampled_from(["", "x86_64", "aarch64", "armv7l"]),
            "libc": st.sampled_from([None, "musl", "musl 1.2", "glibc 2.17", "glibc 2.40"]),
            "driver": st.none() | st.text(max_size=8),
            "cuda": st.none() | st.tuples(st.integers(9, 14), st.integers(0, 9)),
            "accelerators": st.lists(st.just(CARD) | st.just(replace(CARD, memory_free=0)), max_size=3).map(tuple),
            "gpu_status": st.none() | st.integers(0, 255),
            "gpu_problem": st.none() | st.text(max_size=20),
            "gpus_seen": st.none() | st.integers(0, 8),
            "home": st.sampled_from(["", "/root", "/home/anna"]),
            "user": st.sampled_from(["", "root", "anna"]),
            "cpus": st.none() | st.integers(1, 9),
            "clock_skew": st.none() | st.floats(-1e6, 1e6),
            "home_writable": st.sampled_from([None, True, False]),
            "missing": st.lists(st.sampled_from(["tar", "cc", "gcc", "clang", "libnuma.so.1"]), unique=True).map(tuple),
            "os_id": st.sampled_from(["", "debian", "alpine", "nixos", "plan9"]),
        },
    )
)
def test_every_fault_has_its_remedy(changes: dict[str, Any]) -> None:
    """And what is fine has none; the worst first; nothing unknown is printed as None."""
    checks: tuple[Check, ...] = preflight("gpu1", replace(GOOD, **changes))
    assert len({check.name for check in checks}) == len(checks)
    assert [check.state for check in checks] == sorted((check.state for check in checks), key=list(CheckState).index)
    for check in checks:
        assert bool(check.remedy) == (check.state is not PASSED), check
        assert check.why
        assert "None" not in check.remedy + check.why
        assert not check.remedy.startswith("$")
        assert not check.remedy.startswith("lyc ") or shlex.split(check.remedy)[0] == "lyc"
