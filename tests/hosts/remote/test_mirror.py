"""Logs kept here: in the shim's format, rotated as its own, each line once wherever the writer is killed."""

from __future__ import annotations

import datetime
import errno
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lyc.agent.shim import LINE_BYTES, LOG_FILES
from lyc.hosts.remote.mirror import LOG, STATE, Mirror, Mirrors, identity_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "deployments" / "support" / "replicas" / "support-1-a1b2c3" / "1"
    made.mkdir(parents=True)
    return made


def texts(folder: Path) -> list[str]:
    """All lines that are kept, oldest first, without their times."""
    names = [f"{LOG}.{number}" for number in range(LOG_FILES, 0, -1)] + [LOG]
    files = [folder / name for name in names if (folder / name).exists()]
    return [line.partition(" ")[2] for file in files for line in file.read_text().splitlines()]


def test_lines_look_as_the_shims(folder: Path) -> None:
    Mirror(folder).append([(1763769601.0, "one"), (1763769602.0625, "two  words ")], "a")
    assert (folder / LOG).read_text() == "2025-11-22T00:00:01.000Z one\n2025-11-22T00:00:02.062Z two  words \n"
    stamp = (folder / LOG).read_text().split(" ")[0]
    assert datetime.datetime.fromisoformat(stamp).timestamp() == 1763769601.0


def test_what_is_within_a_line(folder: Path) -> None:
    lines = [(1.0, "10%\r20%\r\n30%"), (2.0, ""), (2.0, "  "), (3.0, "ü" * LINE_BYTES), (4.0, "\udcff."), (5.0, "end")]
    Mirror(folder).append(lines, "a")
    kept = (folder / LOG).read_bytes().decode(errors="replace").splitlines()
    assert [line.partition(" ")[2][:4] for line in kept] == ["10%", "20%", "30%", "üüüü", "?.", "end"]
    assert all(re.match(r"1970-01-01T00:00:0\d\.000Z ", line) for line in kept)
    assert max(map(len, (line.encode() for line in kept))) <= LINE_BYTES + 30


def test_where_it_was_left_is_known(folder: Path) -> None:
    Mirror(folder).append([(1.0, "one")], "first")
    again = Mirror(folder)
    assert again.mark == "first"
    again.append([(1.0, "two")], "second")
    again.append([], "third")
    assert Mirror(folder).mark == "third"
    assert texts(folder) == ["one", "two"]
    assert [path.stat().st_mode & 0o077 for path in (folder / LOG, folder / STATE)] == [0, 0]


def test_a_tail_that_no_state_accounts_for_is_cut_off(folder: Path) -> None:
    Mirror(folder).append([(1.0, "one")], "a")
    with (folder / LOG).open("a") as file:
        file.write("1970-01-01T00:00:01.000Z tw")
    again = Mirror(folder)
    again.append([(1.0, "two")], "b")
    assert texts(folder) == ["one", "two"]


def test_a_log_without_a_state_is_begun_anew(folder: Path) -> None:
    (folder / LOG).write_text("1970-01-01T00:00:01.000Z one\n")
    again = Mirror(folder)
    assert again.mark is None
    again.append([(1.0, "one"), (1.0, "two")], "a")
    assert texts(folder) == ["one", "two"]


def test_rotation(folder: Path) -> None:
    mirror = Mirror(folder, longest=200)
    for number in range(30):
        mirror.append([(1.0, f"line {number:02d}")], str(number))
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [STATE, LOG, *(f"{LOG}.{number}" for number in range(1, LOG_FILES + 1))]
    )
    kept = texts(folder)
    assert kept == [f"line {number:02d}" for number in range(30 - len(kept), 30)]
    assert len(kept) >= 3 * 5
    assert Mirror(folder, longest=200).mark == "29"


WRITER = """
import sys
from pathlib import Path
from lyc.hosts.remote.mirror import Mirror
mirror = Mirror(Path(sys.argv[1]), longest=4000)
done = int(mirror.mark or 0)
while done < 2000:
    lines = [(1.0, f"line {n}") for n in range(done + 1, done + 1 + done % 5)]
    done += len(lines)
    if not lines:
        done += 1
        lines = [(1.0, f"line {done}")]
    mirror.append(lines, str(done))
"""


def test_killed_anywhere_no_line_is_lost_or_doubled(folder: Path) -> None:
    pauses = itertools.cycle([0.004, 0.013, 0.001, 0.03, 0.008])
    kills = 0
    while True:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, folder])
        state = folder / STATE
        before = state.stat().st_ino if state.exists() else 0
        while writer.poll() is None and (not state.exists() or state.stat().st_ino == before):
            time.sleep(0.001)
        time.sleep(next(pauses))
        writer.send_signal(signal.SIGKILL)
        if writer.wait() == 0:
            break
        kills += 1
    last, kept = int(Mirror(folder).mark or 0), texts(folder)
    assert last >= 2000
    assert kept == [f"line {number}" for number in range(last + 1 - len(kept), last + 1)]
    assert len(kept) > 330
    assert kills > 3


@pytest.mark.parametrize("moved", [1, 2, 3, 4])
def test_killed_between_two_steps_of_a_rotation(folder: Path, moved: int) -> None:
    """The files as they lie when so many of the renames were done, and then the next run."""
    for number in range(1, LOG_FILES + 1):
        (folder / f"{LOG}.{number}").write_text(f"1970-01-01T00:00:01.000Z {LOG_FILES - number} of old\n")
    text = "1970-01-01T00:00:01.000Z " + "x" * 100 + "\n"
    (folder / LOG).write_text(text)
    (folder / STATE).write_text(json.dumps({"mark": "a", "size": len(text)}))
    steps = [*((f"{LOG}.{number - 1}", f"{LOG}.{number}") for number in range(LOG_FILES, 1, -1)), (LOG, f"{LOG}.1")]
    for source, target in steps[:moved]:
        (folder / source).replace(folder / target)
    mirror = Mirror(folder, longest=100)
    assert mirror.mark == "a"
    mirror.append([(1.0, "next")], "b")
    assert texts(folder) == ["1 of old", "2 of old", "x" * 100, "next"][-len(texts(folder)) :]
    assert texts(folder)[-2:] == ["x" * 100, "next"]
    assert "2 of old" in texts(folder)


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """On a file system of its own, which is full."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1"', "sh", tmp_path, sys.executable, FULL],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "permission denied" in done.stderr.lower() or "not permitted" in done.stderr.lower():
        pytest.skip("mounting needs root")
    assert done.returncode == 0, done.stderr


FULL = f"""
import errno, sys
from pathlib import Path
from lyc.hosts.remote.mirror import Mirror
place = Path(sys.argv[1])
(place / "filler").write_bytes(bytes(40000))
mirror, done = Mirror(place), 0
line = "x" * 1000
try:
    while True:
        mirror.append([(1.0, f"{{done}} {{line}}")] * 3, str(done))
        done += 1
except OSError as error:
    assert error.errno == errno.ENOSPC == {errno.ENOSPC}
assert done > 3
(place / "filler").unlink()
again = Mirror(place)
assert again.mark == mirror.mark == str(done - 1)
again.append([(1.0, f"{{done}} {{line}}")] * 3, str(done))
kept = [line.split(" ")[1] for line in (place / "output.log").read_text().splitlines()]
assert kept == [str(n) for n in range(done + 1) for _ in range(3)], kept
"""


def test_folders_are_found_by_the_id(folder: Path, tmp_path: Path) -> None:
    assert identity_of(folder) == "support-1-a1b2c3.1"
    mirrors = Mirrors(tmp_path / "deployments")
    mirrors.keep("support-1-a1b2c3.1", [(1.0, "one")], "a")
    mirrors.keep("support-1-a1b2c3.2", [(1.0, "no such attempt")], "a")
    mirrors.keep("other-1-a1b2c3.1", [(1.0, "no such replica")], "a")
    for odd in ("..1", "support-1-a1b2c3/1", "../../support-1-a1b2c3.1", "*.1", "1", ""):
        mirrors.keep(odd, [(1.0, "no id")], "a")
    assert texts(folder) == ["one"]
    assert mirrors.marks() == {"support-1-a1b2c3.1": "a"}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [STATE, LOG]


def test_a_folder_that_goes_takes_its_log_with_it(folder: Path, tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    mirrors.keep("support-1-a1b2c3.1", [(1.0, "one")], "a")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    mirrors.keep("support-1-a1b2c3.1", [(1.0, "two")], "b")
    assert not folder.exists()


def test_one_made_later_is_found(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    mirrors.keep("a-1.1", [(1.0, "before")], "a")
    late = tmp_path / "a-1" / "1"
    late.mkdir(parents=True)
    mirrors.made("a-1.1", late)
    mirrors.keep("a-1.1", [(1.0, "after")], "b")
    assert texts(late) == ["after"]
    assert [path.name for path in tmp_path.iterdir()] == ["a-1"]
