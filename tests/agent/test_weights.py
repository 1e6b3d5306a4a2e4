"""Weights that are sent to a host: laid out as here, resumed at the byte, verified, and never a half one served."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from lyc.agent.blobs import RESERVE
from lyc.records.model import ModelRef, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.local import LocalSource
from tests.agent.program import (
    Heard,
    Program,
    Refusal,
    digest_of,
    framed,
    hex_of,
    noise,
    on_a_disk_of,
    row,
    text_of,
    until,
)
from tests.lab.network import system_python

MIB = 1 << 20
SEND_SECONDS = 60.0


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def tree(folder: Path) -> dict[str, str]:
    """Every file below, with where a link points to or what a file holds."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text("latin-1")
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_snapshot_is_laid_out_as_the_cache_of_this_machine_lays_it_out(program: Program, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": noise(300_000)}
    for name, data in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(data)
    source, cache = LocalSource(), ContentCache(tmp_path / "cache")
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(tmp_path / "model")))
    here = cache.snapshot(source, listing, lambda done, total: None)
    program.give(*files.values())
    there = program.link(files)
    assert there.name == here.path.name
    for folder in ("blobs", "snapshots", "manifests"):
        assert tree(program.store / folder) == tree(cache.root / folder)
    assert program.call("have", {"digest": here.digest}) == {"path": str(there), "digest": here.digest}


def test_what_is_not_whole_is_not_had(program: Program) -> None:
    files = {"config.json": b"{}", "model.safetensors": noise(1000)}
    digest = digest_of(text_of(files).encode())
    assert program.call("have", {"digest": digest})["path"] is None
    program.give(*files.values())
    assert program.call("have", {"digest": digest})["path"] is None
    program.link(files)
    assert program.call("have", {"digest": digest})["path"]
    program.blob(files["model.safetensors"]).unlink()
    assert program.call("have", {"digest": digest})["path"] is None
    assert program.missing(*files.values()) == [(digest_of(files["model.safetensors"]), 1000, 0)]
    program.give(files["model.safetensors"])
    assert program.call("have", {"digest": digest})["path"], "a blob that comes again heals the snapshot"


def test_a_damaged_manifest_or_snapshot_is_mended_by_the_next_link(program: Program) -> None:
    files = {"config.json": b"{}", "a": b"a"}
    digest = digest_of(text_of(files).encode())
    program.give(*files.values())
    path = program.link(files)
    manifest = program.store / "manifests" / f"{digest[7:]}.json"
    manifest.write_text(manifest.read_text()[:-10])
    (path / "a").unlink()
    assert program.call("have", {"digest": digest})["path"] is None
    assert program.link(files) == path
    assert program.call("have", {"digest": digest})["path"] == str(path)
    assert (path / "a").read_bytes() == b"a"
    assert not list((program.store / "incoming").iterdir())


def test_a_listing_without_digests_is_remembered_by_its_key(program: Program) -> None:
    files = {"config.json": b"{}"}
    program.give(*files.values())
    key, digest = "a" * 64, digest_of(text_of(files).encode())
    assert program.call("have", {"listing": key}) == {"path": None, "digest": None}
    path = program.link(files, listing=key)
    assert program.call("have", {"listing": key}) == {"path": str(path), "digest": digest}


def test_a_look_at_a_snapshot_counts_as_use(program: Program) -> None:
    files = {"config.json": b"{}"}
    program.give(*files.values())
    program.link(files)
    used = program.store / "used" / hex_of(text_of(files).encode())
    os.utime(used, (1, 1))
    program.call("have", {"digest": f"sha256:{used.name}"})
    assert time.time() - used.stat().st_mtime < 60


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../x", "", ".", "./x", "a//x", "a/", "x\0y", "..", "a/./x", 7, None, ["x"]]
)
def test_no_file_lies_outside_of_the_snapshot(program: Program, path: object) -> None:
    one = row("x", b"") | {"path": path}
    with pytest.raises(Refusal) as refused:
        program.call("missing", {"files": [one]})
    assert refused.value.ref == "bad-request"


def test_a_manifest_is_taken_in_its_one_form_only(program: Program) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"x"}
    program.give(*files.values())
    text = text_of(files)
    for other in (text + " ", text.replace("config.json", "../config.json"), "{}", "[]", "", text[:-1]):
        with pytest.raises(Refusal) as refused:
            program.call("link", {"manifest": other})
        assert refused.value.ref == "bad-request"
    assert not list((program.store / "snapshots").iterdir())


def test_link_wants_all_of_its_files(program: Program) -> None:
    program.give(b"{}")
    with pytest.raises(Refusal) as refused:
        program.link({"config.json": b"{}", "model.safetensors": b"x"})
    assert refused.value.ref == "blobs-missing"
    assert not list((program.store / "snapshots").iterdir())


def test_many_files_come_in_one_stream(program: Program) -> None:
    contents = [noise(size, size) for size in (0, 1, 65_536, 3 * MIB + 7, 40 * MIB)]
    assert [offset for _, _, offset in program.missing(*contents)] == [0] * 5
    lines = program.ended(program.start("receive"), b"".join(framed(data) for data in contents))
    assert {line["digest"] for line in lines if line.get("t") == "blob"} == {digest_of(data) for data in contents}
    assert program.missing(*contents) == []
    for data in contents:
        assert program.blob(data).read_bytes() == data
        assert stat.S_IMODE(program.blob(data).stat().st_mode) & 0o222 == 0
    assert not list((program.store / "incoming").iterdir())


def test_five_thousand_small_files_take_seconds(program: Program) -> None:
    files = {f"f{number:04}": b"%d" % number * 200 for number in range(5000)}
    began = time.monotonic()
    program.missing(*files.values())
    program.give(*files.values())
    program.link(files)
    assert program.call("have", {"digest": digest_of(text_of(files).encode())})["path"]
    assert time.monotonic() - began < SEND_SECONDS


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_killed_at_any_byte_it_goes_on_there(program: Program, share: float) -> None:
    data = noise(6 * MIB)
    sent = int(len(data) * share)
    process = program.start("receive")
    assert process.stdin
    process.stdin.write(framed(data)[: len(framed(data)) - len(data) + sent])
    process.stdin.flush()
    until(lambda: program.arrived(data) == sent and program.part(data).exists(), "what was sent to be written")
    process.kill()
    process.communicate()
    assert program.missing(data) in ([(digest_of(data), len(data), sent)], [])
    assert not program.blob(data).exists() or share == 1.0
    program.call("receive", stdin=framed(data, sent))
    assert program.blob(data).read_bytes() == data
    assert program.missing(data) == []


def test_a_stream_that_ends_early_says_so_and_keeps_what_came(program: Program) -> None:
    data = noise(MIB)
    with pytest.raises(Refusal) as refused:
        program.call("receive", stdin=framed(b"first") + framed(data)[:-1000])
    assert (refused.value.ref, refused.value.kind) == ("cut-short", "Unreachable")
    assert program.missing(b"first", data) == [(digest_of(data), MIB, MIB - 1000)]
    program.call("receive", stdin=framed(data, MIB - 1000))
    assert program.missing(data) == []


def test_wrong_bytes_are_thrown_away(program: Program) -> None:
    data = noise(MIB)
    with pytest.raises(Refusal) as refused:
        program.call("receive", stdin=framed(b"good") + framed(data[:-1] + b"?", digest=digest_of(data)))
    assert refused.value.ref == "checksum-mismatch"
    assert program.missing(b"good", data) == [(digest_of(data), MIB, 0)]


def test_a_part_that_a_power_cut_spoiled_is_found_out(program: Program) -> None:
    data = noise(MIB)
    with pytest.raises(Refusal):
        program.call("receive", stdin=framed(data)[: -MIB // 2])
    half = program.arrived(data)
    program.part(data).write_bytes(bytes(half))
    with pytest.raises(Refusal) as refused:
        program.call("receive", stdin=framed(data, half))
    assert refused.value.ref == "checksum-mismatch"
    assert program.missing(data) == [(digest_of(data), MIB, 0)]


@pytest.mark.parametrize("there", [0, 1000, 3000, 5000])
def test_the_sender_must_know_how_much_is_here(program: Program, there: int) -> None:
    data = noise(4000)
    program.missing(data)
    program.part(data).write_bytes((data * 2)[:there])
    lines = program.ended(program.start("receive"), framed(b"first") + framed(data, 2000))
    assert lines[-1] == {"stopped": digest_of(data)}
    assert program.missing(b"first", data) == [(digest_of(data), 4000, there if there < 4000 else 0)]


def test_what_is_here_already_stops_the_stream(program: Program) -> None:
    program.give(b"there")
    assert program.call("receive", stdin=framed(b"there") + framed(b"next")) == {"stopped": digest_of(b"there")}


@pytest.mark.parametrize("line", [b"x\n", b"\n", b"sha256:0 1 0\n", b"sha256:" + b"0" * 64 + b" 1\n", b"\0" * 9999])
def test_a_stream_that_is_none_is_refused(program: Program, line: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        program.call("receive", stdin=line)
    assert refused.value.ref == "bad-request"


def test_two_who_send_the_same_file_do_not_mix(program: Program) -> None:
    data = noise(4 * MIB)
    first, second = program.start("receive"), program.start("receive")
    assert first.stdin
    assert second.stdin
    whole = framed(data)
    first.stdin.write(whole[: 2 * MIB])
    first.stdin.flush()
    until(lambda: program.arrived(data) > MIB, "the first to be at it")
    heard = Heard(second)
    with pytest.raises((BrokenPipeError, subprocess.TimeoutExpired)):
        second.communicate(framed(noise(4 * MIB, 1), digest=digest_of(data)), timeout=1)
    assert not any("error" in line or "stopped" in line for line in heard.lines)
    first.stdin.write(whole[2 * MIB :])
    assert program.ended(first)[-1] == {"stopped": None}
    assert heard.all()[-1] == {"stopped": digest_of(data)}
    assert program.blob(data).read_bytes() == data
    second.kill()
    second.communicate()


def test_two_who_wait_for_each_other_both_end(program: Program) -> None:
    one, other = noise(2 * MIB, 1), noise(2 * MIB, 2)
    first, second = program.start("receive"), program.start("receive")
    assert first.stdin
    assert second.stdin
    first.stdin.write(framed(one))
    second.stdin.write(framed(other))
    first.stdin.flush()
    second.stdin.flush()
    until(lambda: program.arrived(one) == program.arrived(other) == 2 * MIB, "each to have one of the two")
    first.stdin.write(framed(other)[:100])
    second.stdin.write(framed(one)[:100])
    answers = [Heard(first), Heard(second)]
    first.stdin.close()
    second.stdin.close()
    assert [heard.all()[-1].get("stopped") for heard in answers] == [digest_of(other), digest_of(one)]
    assert program.missing(one, other) == []


@pytest.mark.slow
def test_a_stream_that_falls_silent_lets_go(program: Program) -> None:
    data = noise(MIB)
    process = program.start("receive")
    assert process.stdin
    process.stdin.write(framed(data)[:-1000])
    process.stdin.flush()
    lines = Heard(process).all()
    assert lines[-1]["error"]["ref"] == "cut-short"
    process.communicate()
    assert program.call("receive", stdin=framed(data, MIB - 1000)) == {"stopped": None}


def test_a_disk_that_is_too_small_is_known_before(program: Program) -> None:
    rows = [row("x", b"x") | {"size": 1 << 60}]
    with pytest.raises(Refusal) as refused:
        program.call("missing", {"files": rows})
    assert refused.value.ref == "no-space"
    assert f"{1 << 40} MiB and {RESERVE >> 20} MiB of reserve needed, " in refused.value.document["why"]
    assert refused.value.document["hint"]


def test_each_file_must_fit_before_it_comes(tmp_path: Path) -> None:
    data = noise(8 * MIB)
    with on_a_disk_of(RESERVE + 4 * MIB, tmp_path) as program, pytest.raises(Refusal) as refused:
        program.call("receive", stdin=framed(b"first") + framed(data))
    assert refused.value.ref == "no-space"
    assert f"8 MiB and {RESERVE >> 20} MiB of reserve needed, {(RESERVE >> 20) + 4} MiB free" in str(refused.value)


@pytest.mark.parametrize("leave", [0, RESERVE // 2 - MIB])
def test_a_disk_that_somebody_else_fills_meanwhile_stops_it(tmp_path: Path, leave: int) -> None:
    data = noise(80 * MIB)
    whole = framed(data)
    begin = len(whole) - len(data) + 2 * MIB
    with on_a_disk_of(RESERVE + 100 * MIB, tmp_path) as program:
        process = program.start("receive")
        assert process.stdin
        process.stdin.write(whole[:begin])
        process.stdin.flush()
        until(lambda: program.arrived(data) == 2 * MIB, "its beginning to be there")
        free = os.statvfs(program.root)
        with (program.root / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_bsize - leave)
        with pytest.raises(Refusal) as refused:
            program.ended(process, whole[begin:])
        assert refused.value.ref == "no-space"
        assert "what came is kept" in str(refused.value)
        (program.root / "filler").unlink()
        kept = program.arrived(data)
        assert kept >= 2 * MIB
        assert program.call("receive", stdin=framed(data, kept)) == {"stopped": None}
        assert program.blob(data).read_bytes() == data


def test_what_is_here_is_served_from_a_full_disk_too(tmp_path: Path) -> None:
    files = {"config.json": b"{}"}
    with on_a_disk_of(RESERVE + 4 * MIB, tmp_path) as program:
        program.give(*files.values())
        path = program.link(files)
        (program.store / "used" / path.name).unlink()
        free = os.statvfs(program.root)
        with (program.root / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_bsize)
        assert program.call("have", {"digest": f"sha256:{path.name}"})["path"] == str(path)
        with pytest.raises(Refusal) as refused:
            program.call("receive", stdin=framed(b"more"))
        assert refused.value.ref == "no-space"


def modes(folder: Path) -> set[tuple[str, str]]:
    """(kind, mode) of all that lies in a store."""
    found = set()
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            found.add(((path.is_dir() and "folder") or path.parent.name, oct(stat.S_IMODE(path.lstat().st_mode))))
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_in_system_mode_another_account_reads_but_never_writes(program: Program, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "a/model.safetensors": noise(MIB)}
    program.give(*files.values())
    path = program.link(files)
    assert modes(program.store) == {
        ("folder", "0o755"), ("sha256", "0o444"), ("manifests", "0o644"), ("used", "0o644"), ("store", "0o644"),
    }  # fmt: skip
    for folder in (program.root, tmp_path, *tmp_path.parents):
        if len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    read = subprocess.run(
        ["cat", path / "a/model.safetensors"], user=65534, group=65534, extra_groups=[], capture_output=True, check=True
    )
    assert read.stdout == files["a/model.safetensors"]
    tried = subprocess.run(["sh", "-c", f"echo x >>{path}/config.json || rm -f {path}/config.json"], user=65534,
                           group=65534, extra_groups=[], capture_output=True, check=False)  # fmt: skip
    assert tried.returncode != 0
    assert (path / "config.json").read_bytes() == b"{}"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_in_user_mode_nobody_else_reads(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    python = system_python()
    if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False).returncode:
        pytest.skip("no Python >= 3.11 that another user may run")
    program = Program(tmp_path / "own", user=65534, python=python)
    for path in (tmp_path / "own", program.root, tmp_path / "own" / "lyc.pyz"):
        os.chown(path, 65534, 65534)
    program.give(b"{}")
    program.link({"config.json": b"{}"})
    found = modes(program.store)
    assert found == {
        ("folder", "0o700"), ("sha256", "0o400"), ("manifests", "0o600"), ("used", "0o600"), ("store", "0o600"),
    }  # fmt: skip
