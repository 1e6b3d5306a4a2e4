"""A model as its user writes it → `ModelRef`; and the deployment's name that follows from it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from lyc.errors import SpecError
from lyc.records.model import ModelRef, SourceKind
from lyc.spec.names import propose_name

SAMPLES = ("smollm2-135m", "tiny")
"""Models that lyc makes by itself from a package, for machines that reach no model hub."""

FORMS = "a folder (./my-model), org/name[@revision], hf:org/name[@revision], s3://bucket/prefix or sample:NAME"

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_HUB_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_HUB_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,254}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def parse_model(
    text: str, *, cwd: Path, is_dir: Callable[[Path], bool] = Path.is_dir, home: Path | None = None
) -> ModelRef:
    """The reference that `text` means; pure when `is_dir` and `home` (for `~`) are given.

    Read in this order: `hf:…`, `s3://…`, `sample:…`; a path that shows itself as one (`/x`, `./x`, `../x`, `~/x`, `.`);
    a folder of that name below `cwd`, which wins over a model of that name on the Hub (write `hf:org/name` to mean the
    Hub); then `org/name`. Whether a path that shows itself as one exists is asked later, by the source.

    Raises SpecError, with the right forms, for all else.
    """
    written = text.strip()
    if not written:
        raise _wrong("no-model", "no model was named", "the text is empty", text)
    if _CONTROL.search(written):
        raise _wrong("invalid-model", "the model's name holds a control character", "names are printable text", text)
    if written.startswith("s3://"):
        return _s3(written.removeprefix("s3://"), text)
    if written.startswith("sample:"):
        return _sample(written.removeprefix("sample:"), text)
    if written.startswith("hf:") and not written.startswith("hf://"):
        return _hub(written.removeprefix("hf:"), text)
    if "://" in written:
        raise _url(written)
    if written.startswith(("/", "./", "../", "~")) or written in (".", ".."):
        return _local(_expand(written, cwd, home))
    folder = Path(os.path.normpath(cwd / written))
    if _exists(folder, is_dir):
        return _local(folder)
    if "/" not in written:
        raise _wrong("invalid-model", f"{_short(written)!r} names no model", f"there is no folder {folder}", text)
    return _hub(written, text)


def default_name(ref: ModelRef) -> str:
    """The deployment's name if its user gives none: the last word of the location as a DNS label, ≤ 63 characters."""
    parts = [part for part in ref.location.split("/") if part]
    if ref.kind is SourceKind.LOCAL and len(parts) > 2 and _COMMIT.fullmatch(parts[-1]) and parts[-2] == "snapshots":
        return propose_name(parts[-3].rpartition("--")[2])  # a folder of the Hub's own cache: models--org--name/…
    return propose_name(parts[-1] if parts else "")


def _exists(folder: Path, is_dir: Callable[[Path], bool]) -> bool:
    """False too for what cannot be a path, such as a name that is too long."""
    try:
        return is_dir(folder)
    except OSError:
        return False


def _local(path: Path) -> ModelRef:
    return ModelRef(SourceKind.LOCAL, str(path))


def _expand(written: str, cwd: Path, home: Path | None) -> Path:
    if not written.startswith("~"):
        return Path(os.path.normpath(cwd / written))
    if written != "~" and not written.startswith("~/"):
        raise _wrong("invalid-model", f"{_short(written)!r} names no folder", "only ~/… is read, not ~user", written)
    return Path(os.path.normpath((home or Path.home()) / written[1:].lstrip("/")))


def _hub(written: str, text: str) -> ModelRef:
    name, at, revision = written.partition("@")
    parts = name.split("/")
    if len(parts) != 2:
        why = f"a model on the Hub has two parts, org/name; this has {len(parts)}"
        raise _wrong("invalid-model", f"{_short(text)!r} names no model and no folder here", why, text)
    for part in parts:
        if not _HUB_PART.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            why = f"{_short(part)!r} is no name on the Hub: letters, digits, '-', '_' and '.', at most 96"
            raise _wrong("invalid-model", f"{_short(text)!r} names no model and no folder here", why, text)
    if at and (not _HUB_REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        why = "after '@' stands a branch, a tag or a commit"
        raise _wrong("invalid-model", f"{_short(revision)!r} cannot be a revision", why, text)
    return ModelRef(SourceKind.HF, name, revision or None)


def _s3(written: str, text: str) -> ModelRef:
    bucket, _, prefix = written.partition("/")
    prefix = prefix.strip("/")
    if not bucket:
        raise _wrong("invalid-model", f"{_short(text)!r} names no bucket", "after s3:// stands the bucket", text)
    if not _BUCKET.fullmatch(bucket):
        why = "a bucket's name is 3 to 63 letters, digits, '-', '_' and '.'"
        raise _wrong("invalid-model", f"{_short(bucket)!r} cannot be a bucket", why, text)
    if any(part in (".", "..") for part in prefix.split("/")):
        raise _wrong("invalid-model", f"{_short(text)!r} cannot be a prefix", "'.' and '..' mean nothing in S3", text)
    return ModelRef(SourceKind.S3, f"{bucket}/{prefix}" if prefix else bucket)


def _sample(name: str, text: str) -> ModelRef:
    if name not in SAMPLES:
        raise SpecError(
            "unknown-sample",
            f"there is no sample {_short(name)!r}",
            why=f"known are {', '.join(SAMPLES)}",
            where=_short(text),
            hint=f"lyc deploy sample:{SAMPLES[0]}",
        )
    return ModelRef(SourceKind.SAMPLE, name)


def _url(written: str) -> SpecError:
    """A URL is no reference, but which one was meant can often be told. Shown without user, password and query."""
    url = urlsplit(written) if "[" not in written and "]" not in written else urlsplit("")
    shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" if url.scheme else "what was written"
    parts = [part for part in (url.netloc + url.path if url.scheme == "hf" else url.path).split("/") if part]
    if url.scheme == "file":
        meant = url.path
    elif url.scheme == "hf" or (url.hostname or "").endswith(("huggingface.co", "hf.co")):
        at = f"@{parts[3]}" if len(parts) > 3 and parts[2] == "tree" else ""
        meant = f"hf:{'/'.join(parts[:2])}{at}" if len(parts) >= 2 else ""
    else:
        meant = ""
    return SpecError(
        "invalid-model",
        f"{_short(shown)!r} is a URL, not a model",
        why="weights come from a folder, a model hub or S3",
        hint=f"write {meant}" if meant else f"write {FORMS}",
    )


def _wrong(ref: str, what: str, why: str, text: str) -> SpecError:
    return SpecError(ref, what, why=why, where=_short(text.strip()), hint=f"write {FORMS}")


def _short(text: str) -> str:
    clean = _CONTROL.sub("?", text)
    return clean if len(clean) <= 100 else clean[:100] + "…"
