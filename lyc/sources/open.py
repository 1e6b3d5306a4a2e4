"""ModelRef → the source that has it. A vendor's library is imported only when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lyc.ports import ByteProgress, Source
from lyc.records.model import ModelRef, SourceKind
from lyc.records.secret import Secret


def open_source(
    ref: ModelRef,
    *,
    credentials: Mapping[str, Secret],
    s3_endpoint: str | None,
    cache: Path,
    environ: Mapping[str, str],
    hashing: ByteProgress | None = None,
    say: Callable[[str], None] = lambda _: None,
    digests: bool = True,
) -> Source:
    """The source of `ref`. Touches neither disk nor network.

    Args:
        credentials: by the names of the environment variables: `HF_TOKEN`, `HF_ENDPOINT`, `AWS_*`. They alone count;
            those of this process do not.
        s3_endpoint: `--s3-endpoint`; wins over `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` of the credentials.
        cache: the root of the cache of weights, where digests of local files and made samples are kept.
        environ: what uv runs with when a sample is made (`UV_*`, proxies, certificates).
        hashing: hears how far the hashing of a local folder is.
        say: hears what the making of a sample does.
        digests: False = no local file is read to know its digest; for who looks at a model without serving it.
    """
    match ref.kind:
        case SourceKind.LOCAL:
            from lyc.sources.local import LocalSource  # noqa: PLC0415

            return LocalSource(index_folder=cache / "index", hashing=hashing, digests=digests)
        case SourceKind.HF:
            from lyc.sources.huggingface import HuggingFaceSource  # noqa: PLC0415

            return HuggingFaceSource(token=credentials.get("HF_TOKEN"), endpoint=_value(credentials, "HF_ENDPOINT"))
        case SourceKind.S3:
            from lyc.sources.s3 import S3Source  # noqa: PLC0415

            named = _value(credentials, "AWS_ENDPOINT_URL_S3") or _value(credentials, "AWS_ENDPOINT_URL")
            return S3Source(credentials, endpoint=s3_endpoint or named)
        case SourceKind.SAMPLE:
            from lyc.sources.sample import SampleSource  # noqa: PLC0415

            return SampleSource(root=cache, environ=environ, say=say)


def _value(credentials: Mapping[str, Secret], name: str) -> str | None:
    found = credentials.get(name)
    return found.reveal() if found else None
