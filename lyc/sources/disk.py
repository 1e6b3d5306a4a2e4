"""What the file system can do for the cache, and its errors in lyc's words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from lyc.errors import Failed
from lyc.units import show_bytes

RESERVE = 64 << 20
"""Bytes that a fetch leaves free: the controller's own files must still be written on the same disk."""

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def speaking(root: Path) -> Iterator[None]:
    """Errors of writing below `root` as `no-space`, `cache-read-only` or `cache-broken`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_space(root) from error
        if error.errno in _READ_ONLY:
            raise Failed(
                "cache-read-only",
                "the cache of weights cannot be written",
                why=os.strerror(error.errno or 0),
                where=str(root),
                hint="export LYC_CACHE=/a/folder/that/you/may/write",
            ) from error
        raise Failed(
            "cache-broken",
            "the cache of weights does not work",
            why=error.strerror or type(error).__name__,
            where=str(error.filename or root),
            hint="look at the disk, or export LYC_CACHE=/another/folder",
        ) from error


def no_space(root: Path, needed: int | None = None) -> Failed:
    """The error of a disk that is full, or would be after `needed` more bytes."""
    with contextlib.suppress(OSError):
        free = show_bytes(shutil.disk_usage(root).free)
        wanted = f"{show_bytes(needed)} needed, " if needed is not None else "written until it was full, "
        return Failed(
            "no-space",
            "the disk has no room for the model",
            why=f"{wanted}{free} free; what was fetched is kept and goes on from there",
            where=str(root),
            hint="free some space, or export LYC_CACHE=/a/folder/on/a/larger/disk",
        )
    return Failed("no-space", "the disk has no room for the model", where=str(root))


def require_space(root: Path, needed: int) -> None:
    """Failed `no-space` unless `needed` bytes and the reserve fit."""
    if needed and shutil.disk_usage(root).free < needed + RESERVE:
        raise no_space(root, needed + RESERVE)


def clone(source: int, target: int) -> bool:
    """Share the extents of file `source` with `target` (btrfs, XFS, bcachefs). False where that cannot be."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)


def boot_id() -> str:
    """Names the kernel's run since power-on; empty where the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
