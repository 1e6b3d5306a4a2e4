"""A disk that is full, and one that cannot be written: real file systems of a few megabytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from lyc.errors import Failed
from lyc.ports import ByteProgress
from lyc.records.model import Listing, ModelRef, SourceFile, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.local import LocalSource

Mount = Callable[[str], Path]


class Meanwhile(LocalSource):
    """Remembers at which byte the download of the weights began, and does something right before."""

    def __init__(self, something: Callable[[], object]) -> None:
        super().__init__()
        self.starts: list[int] = []
        self.something = something

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        if file.path.endswith(".safetensors"):
            self.starts.append(start)
            self.something()
        super().download(listing, file, into, start=start, progress=progress)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system; skips where that is not permitted."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no right to mount: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Path]:
    """A file system whose files can share their extents (btrfs); skips where none can be made."""
    image, place = tmp_path / "image", tmp_path / "btrfs"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    mkfs = shutil.which("mkfs.btrfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("there is no mkfs.btrfs")
    for command in ([mkfs, "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no btrfs here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def resolve(folder: Path) -> tuple[LocalSource, Listing]:
    source = LocalSource()
    return source, source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))


def failure(cache: ContentCache, folder: Path, source: LocalSource | None = None) -> Failed:
    source = source or LocalSource()
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))
    with pytest.raises(Failed) as caught:
        cache.snapshot(source, listing, lambda done, total: None)
    assert type(caught.value) is Failed
    assert caught.value.hint
    assert cache.have(listing) is None
    return caught.value


def test_too_little_space_is_found_before_the_first_byte(
    mount: Mount, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "model", size=10 << 20)
    root = mount("size=70m")
    error = failure(ContentCache(root), folder)
    assert error.ref == "no-space"
    assert "needed" in error.why
    assert "free" in error.why
    assert error.where == str(root)
    assert not list((root / "incoming").iterdir())


def test_a_disk_that_fills_up_meanwhile_keeps_what_came(
    mount: Mount, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "model", size=30 << 20)
    root = mount("size=100m")
    ballast = root / "ballast"
    error = failure(ContentCache(root), folder, Meanwhile(lambda: ballast.write_bytes(bytes(80 << 20))))
    assert error.ref == "no-space"
    assert max(part.stat().st_size for part in (root / "incoming").glob("*.part")) > 10 << 20
    ballast.unlink()
    source = Meanwhile(lambda: None)
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))
    snapshot = ContentCache(root).snapshot(source, listing, lambda done, total: None)
    assert source.starts[0] > 10 << 20
    assert (snapshot.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_read_only_cache_says_which_setting_to_change(mount: Mount, model: Path) -> None:
    root = mount("size=1m,ro")
    error = failure(ContentCache(root), model)
    assert error.ref == "cache-read-only"
    assert "LYC_CACHE" in error.hint
    assert error.where == str(root)


def test_a_read_only_cache_serves_what_it_has(mount: Mount, model: Path, cache: ContentCache) -> None:
    root = mount("size=8m")
    source, listing = resolve(model)
    filled = ContentCache(cache.root).snapshot(source, listing, lambda done, total: None)
    shutil.copytree(cache.root, root, dirs_exist_ok=True, symlinks=True)
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    snapshot = ContentCache(root).snapshot(source, listing, lambda done, total: None)
    assert snapshot.digest == filled.digest
    assert (snapshot.path / "config.json").read_bytes() == (model / "config.json").read_bytes()
    indexed = LocalSource(index_folder=ContentCache(root).index_folder)
    assert indexed.resolve(ModelRef(SourceKind.LOCAL, str(model))).files


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("below", ["", "not-there-yet"])
def test_a_cache_that_belongs_to_someone_else(
    tmp_path: Path, model: Path, as_nobody: Callable[..., str], below: str
) -> None:
    root = tmp_path / "theirs" / below
    (tmp_path / "theirs").mkdir(mode=0o755)
    source, listing = resolve(model)
    said = as_nobody(lambda: str(ContentCache(root).snapshot(source, listing, lambda done, total: None)))
    assert said.startswith("Failed cache-read-only")
    assert "LYC_CACHE" in said


def test_a_cache_that_is_a_file(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").touch()
    assert failure(ContentCache(tmp_path / "file"), model).ref == "cache-broken"


class NeverCopied(LocalSource):
    """A local folder whose files nobody may read through; optionally one changes at the last moment."""

    def __init__(self, meddle: Callable[[Path], object] = lambda _: None) -> None:
        super().__init__()
        self.meddle = meddle

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:
        path = super().local_path(listing, file)
        if path is not None and file.path.endswith(".safetensors"):
            self.meddle(path)
        return path

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        raise AssertionError(f"{file.path} was copied")


def test_where_files_can_share_their_extents_weights_are_cloned(sharing: Path, make_model: Callable[..., Path]) -> None:
    folder = make_model(sharing / "model", size=60 << 20)
    before = (folder / "model.safetensors").read_bytes()
    cache, source = ContentCache(sharing / "cache"), NeverCopied()
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))
    snapshot = cache.snapshot(source, listing, lambda done, total: None)
    assert cache.verify(snapshot) == ()
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"the owner writes into the file")
    assert (snapshot.path / "model.safetensors").read_bytes() == before
    assert not list((cache.root / "incoming").iterdir())


def test_a_file_that_changes_right_before_it_is_cloned_is_an_error(
    sharing: Path, make_model: Callable[..., Path]
) -> None:
    folder = make_model(sharing / "model")
    cache, source = ContentCache(sharing / "cache"), NeverCopied(meddle=lambda path: path.write_bytes(b"x" * 300_079))
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))
    with pytest.raises(Failed) as caught:
        cache.snapshot(source, listing, lambda done, total: None)
    assert caught.value.ref == "source-changed"
    assert cache.have(listing) is None
    assert not list((cache.root / "incoming").iterdir())
