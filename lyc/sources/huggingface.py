"""A repository on a Hugging Face Hub, or a mirror of it, as a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import httpx
from huggingface_hub import HfApi, hf_hub_url

from lyc.errors import Failed, NotAuthorised, UsageError
from lyc.ports import ByteProgress
from lyc.records.model import FetchRequest, Listing, ModelRef, SourceFile
from lyc.records.secret import Secret
from lyc.sources.elsewhere import reachable_elsewhere
from lyc.sources.hub_errors import Asked, speaking
from lyc.sources.select import select

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_LISTING_SECONDS = 20.0
_TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)


class HuggingFaceSource:
    """Implements `lyc.ports.Source`. The revision is the commit; every file is verified.

    Files kept in LFS carry a SHA-256, which the cache verifies. The small rest is known by its Git blob id, which is
    verified here: those files are read whole.

    Args:
        token: `HF_TOKEN`; None = anonymous. A token of this process' environment or of its user's files is never used.
        endpoint: `HF_ENDPOINT`; None = huggingface.co.
        elsewhere: whether an address means the same server on another machine.
    """

    def __init__(
        self,
        *,
        token: Secret | None = None,
        endpoint: str | None = None,
        elsewhere: Callable[[str], bool] = reachable_elsewhere,
    ) -> None:
        self._elsewhere = elsewhere
        self._token = _checked(token)
        self._endpoint = (endpoint or "https://huggingface.co").rstrip("/")
        if not self._endpoint.startswith(("http://", "https://")):
            raise UsageError(
                "invalid-endpoint",
                f"{self._endpoint!r} is not the URL of a hub",
                where="HF_ENDPOINT",
                hint="export HF_ENDPOINT=https://huggingface.co",
            )
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"})

    def resolve(self, ref: ModelRef) -> Listing:
        asked = self._asked(ref)
        with speaking(asked):
            # `token=False` keeps huggingface_hub from looking for a token by itself
            api = HfApi(endpoint=self._endpoint, token=self._token.reveal() if self._token else False)
            try:
                info = api.model_info(
                    ref.location, revision=ref.revision, files_metadata=True, timeout=_LISTING_SECONDS
                )
            except (JSONDecodeError, KeyError, TypeError) as error:
                raise asked.unanswered("it answers, but not as a hub does") from error
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        choice = select(siblings)
        if info.sha is None:
            raise asked.unanswered("it names no commit of the model, so it is no complete mirror")
        pinned = ref.pinned(info.sha)
        if info.gated and choice.keep:  # the listing of a gated model is open, its files are not
            self._head(pinned, choice.keep[0])
        return Listing(pinned, tuple(self._file(pinned, siblings[name]) for name in choice.keep), choice.refused)

    def read(self, listing: Listing, file: SourceFile, *, start: int = 0, length: int | None = None) -> bytes:
        end = file.size if length is None else min(file.size, start + length)
        if start >= end:
            return b""
        with self._open(listing.ref, file, start, end) as chunks:
            data = b"".join(chunks)
        if (start, end) == (0, file.size):
            _verify_blob(listing.ref, file, data)
        return data

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        if file.digest is None:
            into.write(self.read(listing, file)[start:])
            progress(file.size, file.size)
            return
        done = start
        with self._open(listing.ref, file, start, file.size) as chunks:
            for chunk in chunks:
                into.write(chunk)
                done += len(chunk)
                progress(done, file.size)

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:  # noqa: ARG002
        """See the port. The token goes along, and is good for as long as the hub says."""
        if not self._elsewhere(self._endpoint):
            return None
        headers = {name: Secret(value) for name, value in self._headers({}).items()}
        return tuple(
            FetchRequest(file.path, Secret(self._url(listing.ref, file.path)), headers, _git_blob(file))
            for file in listing.files
        )

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:  # noqa: ARG002 (never local)
        return None

    @contextmanager
    def _open(self, ref: ModelRef, file: SourceFile, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """Bytes [start, end) in chunks. A server without ranges sends all; what comes before `start` is dropped."""
        asked = self._asked(ref, file.path)
        headers = self._headers({"Range": f"bytes={start}-{end - 1}"})
        with speaking(asked), self._client.stream("GET", self._url(ref, file.path), headers=headers) as answer:
            if answer.is_error:
                raise asked.refused(answer.status_code, answer.headers.get("X-Error-Code"))
            skip = start if answer.status_code == httpx.codes.OK else 0
            # no chunk size: httpx would hold bytes back that have come, and lose them when the line breaks
            yield _window(asked, answer.iter_bytes(), skip, end - start)

    def _file(self, ref: ModelRef, sibling: RepoSibling) -> SourceFile:
        name, size = sibling.rfilename, sibling.size
        if sibling.lfs is not None:
            return SourceFile(name, sibling.lfs.size, f"sha256:{sibling.lfs.sha256}", sibling.blob_id or "")
        if size is None:  # a mirror that lists names only
            size = int(self._head(ref, name).get("Content-Length", 0))
        return SourceFile(name, size, None, sibling.blob_id or "")

    def _head(self, ref: ModelRef, path: str) -> httpx.Headers:
        asked = self._asked(ref, path)
        with speaking(asked):
            answer = self._client.head(self._url(ref, path), headers=self._headers({}))
        if answer.is_error:
            raise asked.refused(answer.status_code, answer.headers.get("X-Error-Code"))
        return answer.headers

    def _url(self, ref: ModelRef, path: str) -> str:
        return hf_hub_url(ref.location, path, revision=ref.revision, endpoint=self._endpoint)

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        return more | ({"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {})

    def _asked(self, ref: ModelRef, path: str | None = None) -> Asked:
        return Asked(ref, self._endpoint, path, signed_in=self._token is not None)


def _window(asked: Asked, chunks: Iterator[bytes], skip: int, length: int) -> Iterator[bytes]:
    """`length` bytes after the first `skip`; an error of the line is translated while they are drawn."""
    with speaking(asked):
        for chunk in chunks:
            wanted = chunk[skip : skip + length]
            skip = max(0, skip - len(chunk))
            length -= len(wanted)
            if wanted:
                yield wanted
            if not length:
                return


def _git_blob(file: SourceFile) -> str | None:
    """The Git blob id by which a file without a digest is known, where the hub gave one."""
    return file.etag if file.digest is None and len(file.etag) == 40 else None


def _verify_blob(ref: ModelRef, file: SourceFile, data: bytes) -> None:
    """Compare with the Git blob id."""
    if _git_blob(file) is None:
        return
    found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if found != file.etag:
        raise Failed(
            "checksum-mismatch",
            f"{file.path} arrived damaged",
            why=f"its Git blob id is {found[:12]}…, the hub says {file.etag[:12]}…",
            where=str(ref),
            hint="deploy again; if it stays, the copy at the hub is damaged",
        )


def _checked(token: Secret | None) -> Secret | None:
    """The token without blanks around it. NotAuthorised if no header can carry it."""
    text = token.reveal().strip() if token else ""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise NotAuthorised(
            "bad-token",
            "HF_TOKEN is not a token",
            why="it holds blanks or odd characters",
            where="HF_TOKEN",
            hint="export HF_TOKEN=hf_… as the hub shows it",
        )
    return Secret(text) if text else None
