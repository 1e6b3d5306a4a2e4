"""A LoRA adapter: what it changes, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lyc.errors import SpecError
from lyc.inspection.documents import read_object
from lyc.inspection.safetensors_header import Read, read_header
from lyc.records.architecture import AdapterFacts
from lyc.records.model import Listing

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def inspect_adapter(listing: Listing, read: Read) -> AdapterFacts:
    """What the adapter in `listing` is. Its weights may be absent (then their bytes and dtype are None).

    SpecError: `no-adapter`, `invalid-json`, `not-lora`, `invalid-adapter`, `truncated-weights`, `invalid-weights`.
    """
    file = listing.file("adapter_config.json")
    if file is None:
        raise SpecError(
            "no-adapter",
            f"{listing.ref} is not an adapter",
            why="there is no adapter_config.json",
            where=str(listing.ref),
            hint="name the folder that PEFT's save_pretrained wrote: adapter_config.json, adapter_model.safetensors",
        )
    config = read_object(file, read)
    if (kind := config.get("peft_type", "LORA")) != "LORA":
        raise SpecError(
            "not-lora",
            f"{listing.ref} is a {kind} adapter",
            why="the engine serves LoRA adapters only",
            where="adapter_config.json: peft_type",
            hint="merge it into its base model (merge_and_unload) and deploy that",
        )
    rank = _rank(config)
    if not rank:
        raise SpecError(
            "invalid-adapter",
            f"{listing.ref} does not say its rank",
            why="`r` must be a whole number above 0",
            where="adapter_config.json: r",
            hint="save the adapter again with PEFT's save_pretrained",
        )
    base, alpha = config.get("base_model_name_or_path"), config.get("lora_alpha")
    size, dtype = _weights(listing, read)
    return AdapterFacts(
        base=base if isinstance(base, str) and base else None,
        rank=rank,
        targets=_targets(config.get("target_modules")),
        alpha=int(alpha) if isinstance(alpha, (int, float)) and not isinstance(alpha, bool) else None,
        weights_bytes=size,
        dtype=dtype,
    )


def _rank(config: Mapping[str, object]) -> int:
    """The largest: `rank_pattern` gives single modules another one."""
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, Mapping) else ())]
    return max((rank for rank in ranks if type(rank) is int and rank > 0), default=0)


def _targets(found: object) -> tuple[str, ...]:
    """Names of modules; one text is a pattern over full names, or `all-linear`."""
    if isinstance(found, str):
        return (found,)
    return tuple(sorted(map(str, found))) if isinstance(found, list) else ()


def _weights(listing: Listing, read: Read) -> tuple[int | None, str | None]:
    file = listing.file("adapter_model.safetensors")
    if file is None:
        return None, None
    sizes = Counter(read_header(file, read).bytes_by_dtype)
    return sizes.total(), _DTYPES.get(max(sizes, key=sizes.__getitem__, default=""))
