"""The content-addressed cache, fed from local folders."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from lyc.errors import Failed, Interrupted, LycError, Unreachable
from lyc.ports import ByteProgress
from lyc.records.model import Listing, ModelRef, Snapshot, SourceFile, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.local import LocalSource


def ref(folder: Path) -> ModelRef:
    return ModelRef(SourceKind.LOCAL, str(folder))


def fetch(cache: ContentCache, folder: Path) -> tuple[Listing, Snapshot]:
    source = LocalSource()
    listing = source.resolve(ref(folder))
    return listing, cache.snapshot(source, listing, lambda done, total: None)


def same(folder: Path, snapshot: Path) -> bool:
    """Every file of the snapshot is byte for byte that of `folder`."""
    files = [path for path in snapshot.rglob("*") if not path.is_dir()]
    return bool(files) and all(
        path.read_bytes() == (folder / path.relative_to(snapshot)).read_bytes() for path in files
    )


class Faltering(LocalSource):
    """A local source seen over a bad line: it breaks after so many bytes of each try, and may not know digests."""

    def __init__(self, *, breaks_after: int, error: LycError, digests: bool = True) -> None:
        super().__init__()
        self.breaks_after, self.error, self.digests = breaks_after, error, digests
        self.starts: list[int] = []

    def resolve(self, ref: ModelRef) -> Listing:
        listing = super().resolve(ref)
        if self.digests:
            return listing
        return replace(listing, files=tuple(replace(file, digest=None) for file in listing.files))

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        self.starts.append(start)
        data = self.read(listing, file, start=start, length=self.breaks_after)
        into.write(data)
        progress(start + len(data), file.size)
        if start + len(data) < file.size:
            raise self.error

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:
        return None


BROKEN_LINE = Unreachable("no-answer", "the line broke")


def test_a_snapshot_is_complete_verified_and_read_only(cache: ContentCache, model: Path) -> None:
    listing, snapshot = fetch(cache, model)
    assert same(model, snapshot.path)
    assert sorted(path.name for path in snapshot.path.iterdir()) == sorted(file.path for file in listing.files)
    assert snapshot.size == listing.size
    for path in snapshot.path.iterdir():
        blob = path.resolve()
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()
        assert blob.stat().st_mode & 0o777 == 0o444
    assert list((cache.root / "incoming").iterdir()) == []
    assert cache.have(listing) == snapshot
    assert cache.verify(snapshot) == ()


def test_the_owners_file_is_not_shared_with_the_cache(cache: ContentCache, model: Path) -> None:
    _, snapshot = fetch(cache, model)
    before = (snapshot.path / "model.safetensors").read_bytes()
    with (model / "model.safetensors").open("r+b") as file:
        file.write(b"overwritten in place")
    assert (snapshot.path / "model.safetensors").read_bytes() == before
    assert (model / "model.safetensors").stat().st_nlink == 1


def test_the_digest_is_the_content_wherever_it_came_from(cache: ContentCache, model: Path, tmp_path: Path) -> None:
    _, first = fetch(cache, model)
    copy = shutil.copytree(model, tmp_path / "copy")
    _, second = fetch(cache, copy)
    assert second.digest == first.digest
    assert second.path == first.path
    (copy / "config.json").write_text('{"architectures": []}')
    _, third = fetch(cache, copy)
    assert third.digest != first.digest
    assert (third.path / "model.safetensors").resolve() == (first.path / "model.safetensors").resolve()


def test_files_with_equal_bytes_are_one_blob(cache: ContentCache, model: Path) -> None:
    (model / "special_tokens_map.json").write_text("{}")
    _, snapshot = fetch(cache, model)
    assert (snapshot.path / "special_tokens_map.json").resolve() == (snapshot.path / "tokenizer_config.json").resolve()


def test_a_moved_cache_still_serves(cache: ContentCache, model: Path, tmp_path: Path) -> None:
    listing, _ = fetch(cache, model)
    shutil.move(cache.root, tmp_path / "moved")
    moved = ContentCache(tmp_path / "moved").have(listing)
    assert moved
    assert same(model, moved.path)


def test_a_second_fetch_asks_the_source_for_nothing(cache: ContentCache, model: Path) -> None:
    listing, snapshot = fetch(cache, model)
    shutil.rmtree(model)
    told: list[tuple[int, int]] = []
    assert cache.snapshot(LocalSource(), listing, lambda done, total: told.append((done, total))) == snapshot
    assert told == [(listing.size, listing.size)]


def damage_by_truncation(blob: Path) -> None:
    blob.chmod(0o644)
    os.truncate(blob, blob.stat().st_size - 1)


def damage_by_removal(blob: Path) -> None:
    blob.unlink()


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_by_removal])
def test_a_damaged_blob_is_never_served_and_fetched_again(
    cache: ContentCache, model: Path, damage: Callable[[Path], None]
) -> None:
    listing, snapshot = fetch(cache, model)
    damage((snapshot.path / "model.safetensors").resolve())
    assert cache.have(listing) is None
    _, again = fetch(cache, model)
    assert again == snapshot
    assert same(model, again.path)


def test_a_blob_with_flipped_bits_is_found_by_verify(cache: ContentCache, model: Path) -> None:
    listing, snapshot = fetch(cache, model)
    blob = (snapshot.path / "model.safetensors").resolve()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x00")
    assert cache.verify(snapshot) == ("model.safetensors",)
    assert cache.have(listing) is None
    fetch(cache, model)
    assert cache.verify(snapshot) == ()
    assert same(model, snapshot.path)


@pytest.mark.parametrize("hurt", ["link", "manifest", "folder"])
def test_a_damaged_snapshot_is_put_together_again(cache: ContentCache, model: Path, hurt: str) -> None:
    listing, snapshot = fetch(cache, model)
    if hurt == "link":
        (snapshot.path / "config.json").unlink()
    elif hurt == "folder":
        shutil.rmtree(snapshot.path)
    else:
        next((cache.root / "manifests").iterdir()).write_text('{"files": [')
    assert cache.have(listing) is None
    _, again = fetch(cache, model)
    assert again == snapshot
    assert same(model, again.path)


@pytest.mark.parametrize("digests", [True, False])
def test_a_broken_line_is_taken_up_where_it_broke(cache: ContentCache, model: Path, digests: bool) -> None:
    source = Faltering(breaks_after=100_000, error=BROKEN_LINE, digests=digests)
    listing = source.resolve(ref(model))
    snapshot = cache.snapshot(source, listing, lambda done, total: None)
    assert same(model, snapshot.path)
    assert sorted(start for start in source.starts if start) == [100_000, 200_000, 300_000]
    assert cache.have(listing) == snapshot


def test_a_line_that_stays_dead_is_given_up_and_resumed_by_the_next_run(cache: ContentCache, model: Path) -> None:
    source = Faltering(breaks_after=0, error=BROKEN_LINE)
    listing = source.resolve(ref(model))
    with pytest.raises(Unreachable):
        cache.snapshot(source, listing, lambda done, total: None)
    assert cache.have(listing) is None
    assert not list((cache.root / "snapshots").glob("*"))
    source = Faltering(breaks_after=200_000, error=Failed("stopped", "something else went wrong"))
    with pytest.raises(Failed, match="something else"):
        cache.snapshot(source, listing, lambda done, total: None)
    _, snapshot = fetch(cache, model)
    assert same(model, snapshot.path)


def test_a_damaged_part_is_fetched_again_from_its_beginning(cache: ContentCache, model: Path) -> None:
    source = Faltering(breaks_after=200_000, error=Failed("stopped", "stopped"))
    listing = source.resolve(ref(model))
    with pytest.raises(Failed):
        cache.snapshot(source, listing, lambda done, total: None)
    part = next((cache.root / "incoming").glob("*.part"))
    part.write_bytes(bytes(part.stat().st_size))
    _, snapshot = fetch(cache, model)
    assert same(model, snapshot.path)


def test_a_part_that_is_too_long_is_begun_anew(cache: ContentCache, model: Path) -> None:
    listing = LocalSource().resolve(ref(model))
    weights = listing.file("model.safetensors")
    assert weights
    (cache.root / "incoming").mkdir(parents=True)
    (cache.root / "incoming" / f"{str(weights.digest)[7:]}.part").write_bytes(bytes(weights.size + 5))
    _, snapshot = fetch(cache, model)
    assert same(model, snapshot.path)


def test_bytes_that_are_not_what_the_source_promised_are_refused(cache: ContentCache, model: Path) -> None:
    listing = LocalSource().resolve(ref(model))
    wrong = tuple(replace(file, digest="sha256:" + "0" * 64) for file in listing.files if file.path == "config.json")
    with pytest.raises(Failed) as caught:
        cache.snapshot(LocalSource(), replace(listing, files=wrong), lambda done, total: None)
    assert caught.value.ref == "checksum-mismatch"
    assert not list((cache.root / "blobs" / "sha256").iterdir())
    assert not list((cache.root / "incoming").iterdir())


def test_whoever_watches_may_stop_the_fetch(
    cache: ContentCache, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "big", size=9 << 20, shards=3)
    listing = LocalSource().resolve(ref(folder))

    def stop(done: int, total: int) -> None:
        if done > 4 << 20:
            raise Interrupted("interrupted", "enough")

    with pytest.raises(Interrupted):
        cache.snapshot(LocalSource(), listing, stop)
    assert cache.have(listing) is None


def test_progress_ends_at_the_whole(cache: ContentCache, make_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_model(tmp_path / "big", size=3 << 20, shards=4)
    listing = LocalSource().resolve(ref(folder))
    told: list[tuple[int, int]] = []
    cache.snapshot(LocalSource(), listing, lambda done, total: told.append((done, total)))
    assert told[-1] == (listing.size, listing.size)
    assert all(total == listing.size for _, total in told)


def test_what_nobody_touched_for_weeks_is_thrown_away(cache: ContentCache, model: Path) -> None:
    incoming = cache.root / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "old.part").touch()
    (incoming / "old.snapshot").mkdir()
    (incoming / "new.part").touch()
    for name in ("old.part", "old.snapshot"):
        os.utime(incoming / name, (1e9, 1e9))
    fetch(cache, model)
    assert [path.name for path in incoming.iterdir()] == ["new.part"]
