"""A prefix of an S3 bucket as a source: AWS, or any server that speaks S3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import PartialCredentialsError

from lyc.ports import ByteProgress
from lyc.records.model import FetchRequest, Listing, ModelRef, SourceFile
from lyc.records.secret import Secret
from lyc.sources.elsewhere import reachable_elsewhere
from lyc.sources.manifest import revision
from lyc.sources.s3_errors import changed, nothing_there, speaking
from lyc.sources.select import is_model_folder, select

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CHUNK = 128 << 10  # what may be lost when the line breaks
_LONGEST_SECONDS = 7 * 86400
"""For which a signature of version 4 may be good."""


class S3Source:
    """Implements `lyc.ports.Source`. The revision is over key, size and ETag of every file.

    Every read carries the ETag (`If-Match`), so that an object written anew under our feet is the error
    `source-changed` and never half of one file and half of another.

    Args:
        credentials: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`, `AWS_REGION` or
            `AWS_DEFAULT_REGION`, `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`, `AWS_CA_BUNDLE`. Without a key: the
            profile, SSO or role of this machine, as botocore finds them; never the environment of this process, which
            may be that of a shell of days ago.
        endpoint: a URL, for a server that is not AWS; buckets are then part of the path.
        elsewhere: whether an address means the same server on another machine.
    """

    def __init__(
        self,
        credentials: Mapping[str, Secret],
        *,
        endpoint: str | None = None,
        elsewhere: Callable[[str], bool] = reachable_elsewhere,
    ) -> None:
        self._elsewhere = elsewhere
        self._credentials = credentials
        self._endpoint = endpoint
        self._opened: S3Client | None = None

    def resolve(self, ref: ModelRef) -> Listing:
        bucket, prefix = _split(ref)
        with self._speaking(ref):
            client = self._client()
            found, folders = _list(client, bucket, prefix)
            for folder in filter(is_model_folder, folders):
                below, _ = _list(client, bucket, f"{prefix}{folder}/")
                found |= {f"{folder}/{name}": file for name, file in below.items()}
        if not found:
            raise nothing_there(ref, folders)
        choice = select(found)
        files = tuple(SourceFile(name, found[name][0], None, found[name][1]) for name in choice.keep)
        return Listing(ref.pinned(revision(files)), files, choice.refused)

    def read(self, listing: Listing, file: SourceFile, *, start: int = 0, length: int | None = None) -> bytes:
        end = file.size if length is None else min(file.size, start + length)
        parts: list[bytes] = []
        if start < end:
            self._get(listing, file, start, end, parts.append)
        return b"".join(parts)

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        done = start

        def write(chunk: bytes) -> None:
            nonlocal done
            into.write(chunk)
            done += len(chunk)
            progress(done, file.size)

        if start < file.size:
            self._get(listing, file, start, file.size, write)

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:
        """See the port: presigned URLs, which end early where the credentials themselves do."""
        bucket, prefix = _split(listing.ref)
        with self._speaking(listing.ref):
            client = self._client()
            if not self._elsewhere(client.meta.endpoint_url):
                return None
            return tuple(self._signed(client, bucket, prefix, file, math.ceil(seconds)) for file in listing.files)

    def _signed(self, client: S3Client, bucket: str, prefix: str, file: SourceFile, seconds: int) -> FetchRequest:
        wanted = {"Bucket": bucket, "Key": prefix + file.path, "IfMatch": f'"{file.etag}"'}
        url = client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=min(seconds, _LONGEST_SECONDS))
        return FetchRequest(file.path, Secret(url), {"If-Match": Secret(f'"{file.etag}"')})

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:  # noqa: ARG002 (never local)
        return None

    def _get(self, listing: Listing, file: SourceFile, start: int, end: int, take: Callable[[bytes], object]) -> None:
        """Bytes [start, end) of the file, in chunks."""
        bucket, prefix = _split(listing.ref)
        with self._speaking(listing.ref, file):
            answer = self._client().get_object(
                Bucket=bucket, Key=prefix + file.path, IfMatch=f'"{file.etag}"', Range=f"bytes={start}-{end - 1}"
            )
            with closing(answer["Body"]) as body:
                # not every server heeds If-Match
                if answer["ETag"].strip('"') != file.etag or answer["ContentLength"] != end - start:
                    raise changed(listing.ref, file)
                for chunk in body.iter_chunks(_CHUNK):
                    take(chunk)

    def _speaking(self, ref: ModelRef, file: SourceFile | None = None) -> speaking:
        return speaking(ref, file, self._endpoint)

    def _client(self) -> S3Client:
        if self._opened is None:
            known = {name: secret.reveal() for name, secret in self._credentials.items() if secret}
            if bool(known.get("AWS_ACCESS_KEY_ID")) != bool(known.get("AWS_SECRET_ACCESS_KEY")):
                raise PartialCredentialsError(provider="the environment", cred_var="AWS_*")
            core = botocore.session.Session(profile=known.get("AWS_PROFILE"))
            for variable, name in (
                ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE"),
                ("config_file", "AWS_CONFIG_FILE"),
            ):
                if name in known:
                    core.set_config_variable(variable, known[name])
            core.get_component("credential_provider").remove("env")
            core.set_config_variable("ignore_configured_endpoint_urls", "true")
            session = boto3.Session(
                aws_access_key_id=known.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=known.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=known.get("AWS_SESSION_TOKEN"),
                region_name=known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION"),
                botocore_session=core,
            )
            self._opened = session.client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=session.region_name or "us-east-1",
                verify=known.get("AWS_CA_BUNDLE"),
                config=Config(
                    s3={"addressing_style": "path" if self._endpoint else "virtual"},
                    connect_timeout=5,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    max_pool_connections=16,
                    response_checksum_validation="when_required",
                    signature_version="s3v4",
                ),
            )
        return self._opened


def _split(ref: ModelRef) -> tuple[str, str]:
    """Bucket, and the prefix with a slash at its end (empty for the whole bucket)."""
    bucket, _, prefix = ref.location.partition("/")
    return bucket, f"{prefix}/" if prefix else ""


def _list(client: S3Client, bucket: str, prefix: str) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """The objects right below `prefix` as name → (size, ETag), and the names of the folders beside them."""
    found: dict[str, tuple[int, str]] = {}
    folders: list[str] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
        for entry in page.get("Contents", []):
            found[entry["Key"].removeprefix(prefix)] = (entry["Size"], entry["ETag"].strip('"'))
        folders += [folder["Prefix"].removeprefix(prefix).rstrip("/") for folder in page.get("CommonPrefixes", [])]
    return found, folders
