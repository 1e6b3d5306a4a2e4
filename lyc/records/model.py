"""The model on its way from a source to an engine."""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from lyc.records.architecture import Architecture, TensorGroup, TensorsFrom
from lyc.records.secret import Secret


class SourceKind(enum.StrEnum):
    """Where weights come from; also the prefix of a written reference."""

    HF = "hf"
    S3 = "s3"
    LOCAL = "local"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model at a source, at a revision if one was named.

    location: `org/name` (hf), `bucket/prefix` (s3), an absolute path (local), a sample's name (sample).
    revision: what the user wrote (branch, tag, commit) until resolved; then immutable: a 40-hex commit (hf), or
    `sha256:…` over names, sizes and digests or entity tags of all files (s3, local, sample).
    """

    kind: SourceKind
    location: str
    revision: str | None = None

    def pinned(self, revision: str) -> ModelRef:
        return replace(self, revision=revision)

    def __str__(self) -> str:
        if self.kind is SourceKind.LOCAL:
            return self.location
        prefix = "s3://" if self.kind is SourceKind.S3 else f"{self.kind}:"
        revision = f"@{self.revision}" if self.revision and self.kind is SourceKind.HF else ""
        return f"{prefix}{self.location}{revision}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a model as its source lists it.

    path: relative, with forward slashes, never absolute and never with `..`.
    size: bytes. digest: `sha256:<hex>` when the source knows it, else None (then it is computed while fetching).
    etag: the source's own change mark (S3 ETag, Hub blob id, local mtime_ns), for resuming; may be empty.
    """

    path: str
    size: int
    digest: str | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A model resolved: the reference pinned to an immutable revision, and the files that serving needs.

    Files that serving never reads (`.git*`, optimizer states, other frameworks' weights, duplicates such as
    `original/`) are left out; pickle and GGUF weights are named in `refused` so that inspection can say why.
    """

    ref: ModelRef
    files: tuple[SourceFile, ...]
    refused: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """A name (hex) for exactly this listing, equal as long as source, revision and selected files are equal."""
        rows = sorted([file.path, str(file.size), file.digest or "", file.etag] for file in self.files)
        text = json.dumps([self.ref.kind, self.ref.location, self.ref.revision, rows], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def file(self, path: str) -> SourceFile | None:
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """How a machine fetches one file by itself: a GET of `url`, which answers ranges. url and headers may hold
    credentials: they go to the machine by stdin, and nowhere else.

    An `If-Match` among the headers is the entity tag that the answer must carry. git_blob: the id of the bytes as a
    blob of Git, where the source knows that and no SHA-256.
    """

    path: str
    url: Secret
    headers: dict[str, Secret] = field(default_factory=dict)
    git_blob: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model in the content-addressed cache: every file there, verified, read-only.

    digest: `sha256:<hex>` of the manifest (path, size and digest of every file), the model's identity everywhere.
    path: a directory laid out as Hugging Face lays it out (config.json at its top), fit for `vllm serve PATH`.
    files: sorted by path, each with its digest; empty where only another machine knows them.
    """

    ref: ModelRef
    digest: str
    path: Path
    size: int
    files: tuple[SourceFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What config.json, the tokenizer's files and the tensor headers say. None or empty = unknown, never a guess.

    weights_bytes: sum of the tensors' bytes. quantization: `quant_method` of the checkpoint ("awq", "gptq", "fp8",
    "compressed-tensors", …) or None. quantization_detail: the quantization_config as written.
    kv_bytes_per_token: bytes of K and V over all layers for one token at the model's own dtype.
    vocabulary: fingerprint of the tokenizer's vocabulary (`sha256:…`), equal for models that can draft for each other.
    architecture: what the model is built of; None when config.json does not even say how many layers it has.
    tensors: of the checkpoint, alike ones together; tensors_from says how sure they are.
    """

    architectures: tuple[str, ...]
    model_type: str | None = None
    dtype: str | None = None
    max_position_embeddings: int | None = None
    vocab_size: int | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    num_mtp_layers: int = 0
    quantization: str | None = None
    quantization_detail: dict[str, object] = field(default_factory=dict)
    weights_bytes: int | None = None
    kv_bytes_per_token: int | None = None
    vocabulary: str | None = None
    has_chat_template: bool = False
    unknown: tuple[str, ...] = ()
    architecture: Architecture | None = None
    tensors: tuple[TensorGroup, ...] = ()
    tensors_from: TensorsFrom = TensorsFrom.HEADERS

    @property
    def stored_bytes(self) -> int:
        """Bytes of all `tensors`, however sure they are; `weights_bytes` is what the files themselves say."""
        return sum(group.size for group in self.tensors)
