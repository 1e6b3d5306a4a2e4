"""`kill -9` at any byte, two fetches at once: the next run goes on, and nothing half is ever served."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lyc.records.model import ModelRef, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.huggingface import HuggingFaceSource

SIZE = 3_000_000
NAME = "acme/support"
LARGE = 100_000
"""Bytes from which on a file is counted as weights; a shorter part of one is not seen by the count."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a fetch into the cache of this test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(written: str, endpoint: str, **env: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            str(Path(__file__).with_name("fetch.py")),
            str(tmp_path / "cache"),
            written,
            endpoint,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | env, cwd=tmp_path
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def answer_of(process: subprocess.Popen[bytes]) -> tuple[dict[str, Any], str]:
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()
    return json.loads(out), said.decode()


def whole(answer: dict[str, Any], folder: Path) -> bool:
    path = Path(answer["path"])
    names = [file.name for file in path.iterdir()]
    return answer["damaged"] == [] and all((path / n).read_bytes() == (folder / n).read_bytes() for n in names)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def on_disk(tmp_path: Path) -> int:
    """Bytes of weights that are in the cache, finished or not."""
    root = tmp_path / "cache"
    sizes = []
    for file in (*root.glob("incoming/*.part"), *root.glob("blobs/sha256/*")):
        with suppress(FileNotFoundError):  # finished, and so renamed, since it was listed
            sizes.append(file.stat().st_size)
    return sum(size for size in sizes if size >= LARGE)


def asked_for(ranges: list[str | None]) -> int:
    spans = [re.fullmatch(r"bytes=(\d+)-(\d+)", text or "") for text in ranges]
    return sum(int(span[2]) - int(span[1]) + 1 for span in spans if span)


def weights_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.99])
def test_a_killed_fetch_from_a_hub_goes_on_at_the_byte_where_it_was(
    hub: Any, make_model: Any, tmp_path: Path, start: Start, wait_until: Any, share: float
) -> None:
    folder = make_model(tmp_path / "model", size=SIZE, shards=2)
    hub.add(NAME, folder)
    hub.hold_at = int(2 * SIZE * share)
    process = start(f"hf:{NAME}", hub.url)
    wait_until(lambda: hub.sent >= hub.hold_at and len(hub.requests) > 3, "the hub to have sent its share")
    wait_until(lambda: on_disk(tmp_path) >= hub.hold_at - 2 * LARGE, "it to be on disk")
    kill(process)
    cache = ContentCache(tmp_path / "cache")
    listing = HuggingFaceSource(endpoint=hub.url).resolve(ModelRef(SourceKind.HF, NAME))
    assert cache.have(listing) is None
    assert not list((cache.root / "snapshots").glob("*"))
    there, mark = on_disk(tmp_path), len(hub.requests)
    hub.go.set()
    answer, _ = answer_of(start(f"hf:{NAME}", hub.url))
    assert whole(answer, folder)
    assert asked_for([span for _, path, span in hub.requests[mark:] if path.startswith("/cdn/")]) == pytest.approx(
        weights_of(folder) - there, abs=2 * LARGE
    )
    assert not list((cache.root / "incoming").iterdir())


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_killed_fetch_from_s3_goes_on_at_the_byte_where_it_was(
    s3: Any, make_model: Any, tmp_path: Path, start: Start, wait_until: Any, share: float
) -> None:
    folder = make_model(s3.folder / "weights" / "m", size=SIZE, shards=2)
    keys = {"AWS_ACCESS_KEY_ID": "ACCESSKEYOFTESTS", "AWS_SECRET_ACCESS_KEY": "secret-of-tests-only"}
    s3.hold_at = int(2 * SIZE * share)
    process = start("s3://weights/m", s3.url, **keys)
    wait_until(lambda: on_disk(tmp_path) >= s3.hold_at - 4 * LARGE, "a share to be on disk")
    kill(process)
    there, mark = on_disk(tmp_path), len(s3.gets)
    s3.go.set()
    answer, _ = answer_of(start("s3://weights/m", s3.url, **keys))
    assert whole(answer, folder)
    again = asked_for([span for path, span in s3.gets[mark:] if path.endswith(".safetensors")])
    assert again == pytest.approx(weights_of(folder) - there, abs=2 * LARGE)


@pytest.mark.slow
def test_killed_again_and_again_it_still_ends(
    hub: Any, make_model: Any, tmp_path: Path, start: Start, wait_until: Any
) -> None:
    folder = make_model(tmp_path / "model", size=SIZE)
    hub.add(NAME, folder)
    for step in range(1, 6):
        hub.hold_at = step * SIZE // 6
        process = start(f"hf:{NAME}", hub.url)
        wait_until(lambda: on_disk(tmp_path) >= hub.hold_at - LARGE, "the next share to be on disk")
        kill(process)
    hub.go.set()
    answer, _ = answer_of(start(f"hf:{NAME}", hub.url))
    assert whole(answer, folder)
    starts = [int(str(span)[6:].partition("-")[0]) for _, path, span in hub.requests if path.startswith("/cdn/")]
    assert starts == sorted(starts)
    assert starts[-1] >= 5 * SIZE // 6 - LARGE


def test_a_killed_copy_of_a_local_folder_is_made_again(
    make_model: Any, tmp_path: Path, start: Start, wait_until: Any
) -> None:
    folder = make_model(tmp_path / "model", size=60 << 20)
    incoming = tmp_path / "cache" / "incoming"
    process = start(str(folder), "")
    wait_until(lambda: process.poll() is not None or any(incoming.glob("*")), "the copy to begin")
    kill(process)
    answer, _ = answer_of(start(str(folder), ""))
    assert whole(answer, folder)


def test_two_at_once_do_the_work_once_and_the_second_says_that_it_waits(
    hub: Any, make_model: Any, tmp_path: Path, start: Start, wait_until: Any
) -> None:
    folder = make_model(tmp_path / "model", size=SIZE)
    hub.add(NAME, folder)
    hub.hold_at = SIZE // 2
    first = start(f"hf:{NAME}", hub.url)
    wait_until(lambda: hub.sent >= hub.hold_at, "the first to be half through")
    second = start(f"hf:{NAME}", hub.url)
    assert second.stderr
    assert b"another run is fetching model.safetensors" in second.stderr.readline()
    hub.go.set()
    answers = [answer_of(process)[0] for process in (first, second)]
    assert answers[0] == answers[1]
    assert whole(answers[0], folder)
    assert hub.sent == (folder / "model.safetensors").stat().st_size
    assert hub.fetched("model.safetensors") == 1


def test_when_the_first_is_killed_the_second_goes_on_from_there(
    hub: Any, make_model: Any, tmp_path: Path, start: Start, wait_until: Any
) -> None:
    folder = make_model(tmp_path / "model", size=SIZE)
    hub.add(NAME, folder)
    hub.hold_at = SIZE // 2
    first = start(f"hf:{NAME}", hub.url)
    wait_until(lambda: on_disk(tmp_path) >= hub.hold_at - LARGE, "the first to be half through")
    second = start(f"hf:{NAME}", hub.url)
    assert second.stderr
    assert b"another run" in second.stderr.readline()
    there = on_disk(tmp_path)
    kill(first)
    hub.go.set()
    answer, _ = answer_of(second)
    assert whole(answer, folder)
    spans = [span for _, path, span in hub.requests if path.startswith("/cdn/")]
    assert spans[-1] == f"bytes={there}-{weights_of(folder) - 1}"


@pytest.mark.slow
def test_many_at_once_agree(hub: Any, make_model: Any, tmp_path: Path, start: Start) -> None:
    folder = make_model(tmp_path / "model", size=SIZE, shards=3)
    hub.add(NAME, folder)
    answers = [answer_of(process)[0] for process in [start(f"hf:{NAME}", hub.url) for _ in range(4)]]
    assert all(answer == answers[0] for answer in answers)
    assert whole(answers[0], folder)
    assert hub.sent == weights_of(folder)
