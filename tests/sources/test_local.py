"""A folder as a source."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lyc.errors import Failed, SpecError
from lyc.records.model import Listing, ModelRef, SourceKind
from lyc.sources.local import LocalSource

Hashed = list[tuple[int, int]]


def ref(folder: Path) -> ModelRef:
    return ModelRef(SourceKind.LOCAL, str(folder))


def resolve(folder: Path, index: Path | None = None, hashed: Hashed | None = None) -> Listing:
    seen = (lambda done, total: hashed.append((done, total))) if hashed is not None else None
    return LocalSource(index_folder=index, hashing=seen).resolve(ref(folder))


def age(folder: Path) -> None:
    """Let the files look as if written long ago; the change time, which nobody can set, must be waited for."""
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    youngest = max(path.lstat().st_ctime for path in folder.iterdir())
    while time.time() < youngest + 2.05:
        time.sleep(0.05)


def test_a_listing_holds_what_serving_needs_and_its_digests(model: Path) -> None:
    for name in (
        "README.md",
        "model.gguf",
        "optimizer.pt",
        "trainer_state.json",
        "modeling_own.py",
        "old.bin",
        ".hidden",
    ):
        (model / name).write_text("x")
    (model / "original").mkdir()
    (model / "original" / "params.json").write_text("{}")
    listing = resolve(model)
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert [file.path for file in listing.files] == names
    assert listing.refused == ("model.gguf", "old.bin")
    assert all(file.digest and file.digest.startswith("sha256:") for file in listing.files)
    assert listing.ref.revision is not None


def test_the_revision_follows_the_content_and_nothing_else(model: Path, tmp_path: Path) -> None:
    before = resolve(model).ref.revision
    copy = shutil.copytree(model, tmp_path / "copy", copy_function=shutil.copyfile)
    assert resolve(copy).ref.revision == before
    (copy / "config.json").write_text("{}")
    assert resolve(copy).ref.revision != before


def test_an_unchanged_folder_is_hashed_once(model: Path, tmp_path: Path) -> None:
    age(model)
    first: Hashed = []
    listing = resolve(model, tmp_path / "index", first)
    assert first[-1] == (listing.size, listing.size)
    again: Hashed = []
    assert resolve(model, tmp_path / "index", again) == listing
    assert again == []


def test_without_digests_nothing_is_read_and_what_was_hashed_before_is_known(model: Path, tmp_path: Path) -> None:
    hashed: Hashed = []
    index = tmp_path / "index"
    look = LocalSource(index_folder=index, hashing=lambda *sizes: hashed.append(sizes), digests=False)
    blind = look.resolve(ref(model))
    assert ({file.digest for file in blind.files}, hashed) == ({None}, [])
    assert blind.size == resolve(model).size
    assert look.read(blind, blind.files[0], start=0, length=1) == (model / blind.files[0].path).read_bytes()[:1]
    assert not index.exists()
    (model / blind.files[0].path).write_bytes(b"another")
    assert look.resolve(ref(model)).ref.revision != blind.ref.revision
    age(model)
    full = resolve(model, index)
    assert look.resolve(ref(model)) == full
    assert hashed == []


def test_a_file_changed_in_place_with_its_old_time_put_back_is_noticed(model: Path, tmp_path: Path) -> None:
    age(model)
    before = resolve(model, tmp_path / "index")
    weights = model / "model.safetensors"
    times = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert resolve(model, tmp_path / "index").ref.revision != before.ref.revision


def test_a_file_still_warm_from_writing_is_not_remembered(model: Path, tmp_path: Path) -> None:
    (model / "config.json").write_text("{}")
    seen: Hashed = []
    resolve(model, tmp_path / "index")
    resolve(model, tmp_path / "index", seen)
    assert seen[-1][1] >= 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": ["x"]}'])
def test_a_damaged_index_costs_time_only(model: Path, tmp_path: Path, content: str) -> None:
    age(model)
    before = resolve(model, tmp_path / "index")
    for file in (tmp_path / "index").iterdir():
        file.write_text(content)
    assert resolve(model, tmp_path / "index") == before


def test_links_to_files_are_followed(model: Path, tmp_path: Path) -> None:
    before = resolve(model)
    real = tmp_path / "elsewhere"
    shutil.move(model / "model.safetensors", real)
    (model / "model.safetensors").symlink_to(real)
    assert resolve(model).ref.revision == before.ref.revision


def test_links_to_folders_are_not(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "pooling")
    (model / "1_Pooling").symlink_to(tmp_path / "pooling")
    assert not any(file.path.startswith("1_") for file in resolve(model).files)
    (model / "1_Pooling").unlink()
    shutil.copytree(tmp_path / "pooling", model / "1_Pooling")
    assert resolve(model).file("1_Pooling/config.json")


def test_a_link_to_nothing_is_named(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to("/nowhere/at/all")
    with pytest.raises(SpecError) as caught:
        resolve(model)
    assert caught.value.ref == "broken-link"
    assert "/nowhere/at/all" in caught.value.why


def test_a_pipe_is_no_weights_file(model: Path) -> None:
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    assert resolve(model).file("model.safetensors") is None


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 30)], ids=["name", "path"])
def test_a_path_that_is_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(tmp_path / name)
    assert caught.value.ref == "no-such-folder"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("closed", ["model", "model/model.safetensors", "model/config.json", "."])
def test_what_may_not_be_read_is_named(model: Path, as_nobody: Callable[..., str], closed: str) -> None:
    target = (model.parent / closed).resolve()
    target.chmod(0)
    said = as_nobody(lambda: str(resolve(model)))
    target.chmod(0o755)
    assert said.startswith("NotAuthorised model-unreadable")
    assert str(target if closed != "." else model) in said
    assert "chmod" in said


@pytest.mark.parametrize(
    "make", [lambda p: None, Path.touch, lambda p: p.symlink_to("gone")], ids=["none", "file", "link"]
)
def test_no_folder(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(SpecError) as caught:
        resolve(tmp_path / "x")
    assert caught.value.ref == "no-such-folder"
    assert caught.value.hint


def test_ranges_are_read(model: Path) -> None:
    source, listing = LocalSource(), resolve(model)
    file = listing.file("model.safetensors")
    assert file
    data = (model / file.path).read_bytes()
    assert source.read(listing, file) == data
    assert source.read(listing, file, start=5, length=7) == data[5:12]
    assert source.read(listing, file, start=file.size - 2, length=70) == data[-2:]


def test_a_file_that_changed_since_is_an_error_everywhere(model: Path) -> None:
    source, listing = LocalSource(), resolve(model)
    file = listing.file("model.safetensors")
    assert file
    with (model / file.path).open("ab") as target:
        target.write(b"more")
    for act in (
        lambda: source.read(listing, file, length=8),
        lambda: source.download(listing, file, io.BytesIO(), start=0, progress=lambda *_: None),
    ):
        with pytest.raises(Failed) as caught:
            act()
        assert caught.value.ref == "source-changed"
    assert source.local_path(listing, file) is None


def test_a_file_that_changes_during_the_download_is_an_error(model: Path) -> None:
    source, listing = LocalSource(), resolve(model)
    file = listing.file("model.safetensors")
    assert file

    def touch(done: int, total: int) -> None:
        os.utime(model / file.path)

    with pytest.raises(Failed) as caught:
        source.download(listing, file, io.BytesIO(), start=0, progress=touch)
    assert caught.value.ref == "source-changed"
