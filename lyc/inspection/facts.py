"""A listing and a reader of bytes → ModelFacts, or the one error that says why the model cannot be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lyc.inspection.checkpoint import Checkpoint, checkpoint
from lyc.inspection.dimensions import dimensions, language_config, of_architecture
from lyc.inspection.documents import read_object
from lyc.inspection.safetensors_header import Read
from lyc.inspection.settling import CLOSE, Settled, settle
from lyc.inspection.tensors.collapse import collapse
from lyc.inspection.tensors.expected import total
from lyc.inspection.tensors.indexed import named
from lyc.inspection.tensors.schemes import quantization
from lyc.inspection.unservable import adapter_only, no_config, no_layers, no_tokenizer, no_weights
from lyc.inspection.vocabulary import fingerprint, of_vocab
from lyc.records.architecture import TensorGroup, TensorsFrom
from lyc.records.model import Listing, ModelFacts

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
    weights = checkpoint(listing, read, needed=weights_needed)
    if weights_needed and not weights.headers:
        raise no_weights(listing)
    if weights_needed and not _has_tokenizer(listing):
        raise no_tokenizer(listing)
    numbers = dimensions(config, stored_dtype=weights.dtype)
    method, detail = _quantization(config, listing, read)
    quantized = quantization(method, detail)
    settled = settle(config, quantized, None if weights.headers else weights.size)
    if settled is None and not weights_needed:
        raise no_layers(listing)
    tensors, read_from = _tensors(weights, settled)
    built = settled.built if settled else None
    if built is not None and "dtype" in built.unknown and numbers.dtype:
        built = replace(built, dtype=numbers.dtype, unknown=tuple(one for one in built.unknown if one != "dtype"))
    kept = of_architecture(built)
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
        num_key_value_heads=numbers.num_key_value_heads or kept.pairs,
        head_dim=numbers.head_dim or kept.size,
        num_mtp_layers=numbers.num_mtp_layers,
        quantization=method,
        quantization_detail=detail,
        weights_bytes=weights.size,
        kv_bytes_per_token=numbers.kv_bytes_per_token or kept.token_bytes,
        vocabulary=_vocabulary(listing, read),
        has_chat_template=_has_chat_template(listing, read),
        architecture=built,
        tensors=tensors,
        tensors_from=read_from,
    )
    unknown = [name for name in _WANTED if getattr(facts, name) is None]
    if quantized is not None and quantized.unknown:
        unknown.append(f"stored form of {quantized.unknown}")
    if weights.size is not None and abs(rest := weights.size - total(tensors)) > CLOSE * weights.size:
        unknown.append(f"tensors: {rest} bytes unexplained")
    return replace(facts, unknown=tuple(unknown))


def _tensors(weights: Checkpoint, settled: Settled | None) -> tuple[tuple[TensorGroup, ...], TensorsFrom]:
    if weights.headers:
        return collapse(row for header in weights.headers for row in header.rows), TensorsFrom.HEADERS
    if settled is None:
        return (), TensorsFrom.CONFIG
    groups, used = named(weights.names, settled.groups, weights.size)
    return groups, TensorsFrom.INDEX if used or weights.size is not None else TensorsFrom.CONFIG


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
