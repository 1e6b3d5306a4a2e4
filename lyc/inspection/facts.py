"""A listing and a reader of bytes → ModelFacts, or the one error that says why the model cannot be served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lyc.inspection.architecture import described
from lyc.inspection.dimensions import dimensions, language_config
from lyc.inspection.documents import read_object
from lyc.inspection.safetensors_header import Read, TensorHeader, read_header
from lyc.inspection.sections import Sections, sections
from lyc.inspection.tensors.collapse import collapse
from lyc.inspection.tensors.expected import expected
from lyc.inspection.tensors.schemes import Quantization, quantization
from lyc.inspection.unservable import (
    adapter_only,
    missing_shard,
    no_config,
    no_layers,
    no_tokenizer,
    no_weights,
)
from lyc.inspection.vocabulary import fingerprint, of_vocab
from lyc.records.architecture import Architecture, TensorGroup, TensorsFrom
from lyc.records.model import Listing, ModelFacts

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_INDEX = ".safetensors.index.json"
_WANTED = (
    "max_position_embeddings", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "kv_bytes_per_token", "dtype", "vocabulary",
)  # fmt: skip


def inspect(listing: Listing, read: Read, *, weights_needed: bool = True) -> ModelFacts:
    """What the model is. Pure but for `read`, which is asked for small files and the headers of the weights.

    weights_needed: for serving. Without, config.json is enough: tensors are told by the headers if they are there, by
    the index, or by config.json; neither weights nor a tokenizer need be there.

    SpecError: `no-config`, `adapter-only`, `invalid-json`, `truncated-weights`, `invalid-weights`; for serving also
    `no-weights`, `pickle-weights`, `gguf-weights`, `missing-shard`, `no-tokenizer`; else also `no-layers`.
    """
    config_file = listing.file("config.json")
    if config_file is None:
        raise adapter_only(listing, read) or no_config(listing)
    config = read_object(config_file, read)
    index = _index(listing, read)
    headers = _headers(listing, read, index, weights_needed)
    if weights_needed and not headers:
        raise no_weights(listing)
    if weights_needed and not _has_tokenizer(listing):
        raise no_tokenizer(listing)
    sizes = Counter[str]()
    for header in headers.values():
        sizes.update(header.bytes_by_dtype)
    numbers = dimensions(config, stored_dtype=_DTYPES.get(max(sizes, key=sizes.__getitem__, default="")))
    method, detail = _quantization(config, listing, read)
    found = sections(config)
    built = described(found)
    if built is None and not weights_needed:
        raise no_layers(listing)
    if built is not None and not built.dtype and numbers.dtype:
        built = replace(built, dtype=numbers.dtype)
    tensors, read_from = _tensors(headers, index, found, built, quantization(method, detail))
    architectures, model_type = config.get("architectures"), config.get("model_type")
    facts = ModelFacts(
        architectures=tuple(map(str, architectures)) if isinstance(architectures, list) else (),
        model_type=model_type if isinstance(model_type, str) else None,
        dtype=numbers.dtype,
        max_position_embeddings=numbers.max_position_embeddings,
        vocab_size=numbers.vocab_size,
        hidden_size=numbers.hidden_size,
        num_hidden_layers=numbers.num_hidden_layers,
        num_attention_heads=numbers.num_attention_heads,
        num_key_value_heads=numbers.num_key_value_heads,
        head_dim=numbers.head_dim,
        num_mtp_layers=numbers.num_mtp_layers,
        quantization=method,
        quantization_detail=detail,
        weights_bytes=sum(sizes.values()) if headers else _total_size(index),
        kv_bytes_per_token=numbers.kv_bytes_per_token,
        vocabulary=_vocabulary(listing, read),
        has_chat_template=_has_chat_template(listing, read),
        architecture=built,
        tensors=tensors,
        tensors_from=read_from,
    )
    return replace(facts, unknown=tuple(name for name in _WANTED if getattr(facts, name) is None))


def _tensors(
    headers: Mapping[str, TensorHeader],
    index: Mapping[str, object],
    found: Sections,
    built: Architecture | None,
    quantized: Quantization | None,
) -> tuple[tuple[TensorGroup, ...], TensorsFrom]:
    if headers:
        return collapse(row for header in headers.values() for row in header.rows), TensorsFrom.HEADERS
    groups = expected(found, built, quantized) if built is not None else ()
    return groups, TensorsFrom.INDEX if index else TensorsFrom.CONFIG


def _index(listing: Listing, read: Read) -> Mapping[str, object]:
    """The index of the shards, with its own path under ``; empty where there is none."""
    for file in listing.files:
        if file.path.endswith(_INDEX) and "/" not in file.path and not file.path.startswith("adapter_"):
            return {**read_object(file, read), "": file.path}
    return {}


def _total_size(index: Mapping[str, object]) -> int | None:
    metadata = index.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    return int(size) if isinstance(size, (int, float)) and not isinstance(size, bool) and size > 0 else None


def _headers(listing: Listing, read: Read, index: Mapping[str, object], needed: bool) -> dict[str, TensorHeader]:
    """The headers of the weights: the shards that an index names, else every safetensors file that is no adapter.

    Not needed: all of them or none.
    """
    there = {file.path for file in listing.files if file.path.endswith(".safetensors") and "/" not in file.path}
    wanted = {path for path in there if not path.startswith("adapter_")}
    shards = index.get("weight_map")
    if isinstance(shards, Mapping) and shards:
        named = {str(shard) for shard in shards.values()}
        if absent := sorted(named - wanted):
            if not needed:
                return {}
            raise missing_shard(str(index[""]), absent)
        wanted = named
    return {file.path: read_header(file, read) for file in listing.files if file.path in wanted}


def _has_tokenizer(listing: Listing) -> bool:
    names = {file.path for file in listing.files}
    single = {"tokenizer.json", "tokenizer.model", "tekken.json", "spiece.model", "vocab.txt"}
    return bool(names & single) or {"vocab.json", "merges.txt"} <= names or any(n.endswith(".tiktoken") for n in names)


def _quantization(config: Mapping[str, object], listing: Listing, read: Read) -> tuple[str | None, dict[str, object]]:
    """`quant_method` and all that stands beside it. ModelOpt writes its own file."""
    for part in (config, language_config(config)):
        for key in ("quantization_config", "compression_config"):
            if isinstance(found := part.get(key), Mapping) and found:
                method = found.get("quant_method") or found.get("quant_library")
                return (str(method).lower() if method else None), dict(found)
    if file := listing.file("hf_quant_config.json"):
        found = read_object(file, read)
        return "modelopt", found
    return None, {}


def _vocabulary(listing: Listing, read: Read) -> str | None:
    if file := listing.file("tokenizer.json"):
        return fingerprint(read_object(file, read))
    if file := listing.file("vocab.json"):
        return of_vocab(read_object(file, read))
    return None


def _has_chat_template(listing: Listing, read: Read) -> bool:
    if any(file.path.startswith(("chat_template", "additional_chat_templates/")) for file in listing.files):
        return True
    file = listing.file("tokenizer_config.json")
    return bool(file and read_object(file, read).get("chat_template"))
