"""What is planned: the words for a model → its facts, without its weights. Also an adapter, its base, and a draft."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lyc.errors import LycError, SpecError
from lyc.records.architecture import AdapterFacts
from lyc.records.model import ModelFacts, ModelRef
from lyc.records.serving import Draft

if TYPE_CHECKING:
    from lyc.inspection import Read
    from lyc.records.deployment import Speculative
    from lyc.records.model import Listing

Look = Callable[[ModelRef], tuple["Listing", "Read"]]
"""The files of a model and a reader of them; errors are those of its source."""

_ADAPTER = "adapter_config.json"
_NOT_NEEDED = frozenset({"vocabulary", "kv_bytes_per_token"})
"""Facts that other stages ask for: a fingerprint of the tokenizer, a sum that the planner makes by itself."""


@dataclass(frozen=True, slots=True)
class Planned:
    """ref: pinned; of the base where an adapter is planned. written: what `lyc deploy` is to be given. sibling: of the
    checkpoint that it would be with weights of 4 bits, None for one that is quantized.
    """

    written: str
    ref: ModelRef
    facts: ModelFacts
    adapter: AdapterFacts | None = None
    adapter_ref: ModelRef | None = None
    sibling: ModelFacts | None = None

    @property
    def longest(self) -> int | None:
        """Tokens that the model reads at most."""
        architecture = self.facts.architecture
        return architecture.positions if architecture else self.facts.max_position_embeddings

    @property
    def weights(self) -> int | None:
        """Bytes of the checkpoint; by what its tensors must be where config.json alone is there."""
        if self.facts.weights_bytes is not None or not self.facts.tensors:
            return self.facts.weights_bytes
        return self.facts.stored_bytes

    @property
    def unknown(self) -> tuple[str, ...]:
        """What config.json does not say and a plan needs."""
        return tuple(name for name in self.facts.unknown if name not in _NOT_NEEDED)

    @property
    def parameters(self) -> int | None:
        """None for a quantized model, whose tensors are packed."""
        if self.facts.quantization is not None or not self.facts.tensors:
            return None
        return sum(group.count * math.prod(group.shape) for group in self.facts.tensors)


def find(written: str, adapter: str | None, look: Look, *, cwd: Path) -> Planned:
    """The model with the adapter on it. `written` may be an adapter itself: then its base is found and planned.

    Raises what sources and inspection raise, and SpecError `two-adapters`, `no-base`, `not-an-adapter`, `no-layers`.
    """
    from lyc.inspection import inspect
    from lyc.inspection.siblings import sibling
    from lyc.spec.model_ref import parse_model

    ref = parse_model(written, cwd=cwd)
    listing, read = look(ref)
    if not _is_adapter(listing):
        facts = inspect(listing, read, weights_needed=False)
        model = _with_layers(Planned(written, listing.ref, facts, sibling=sibling(facts, listing, read)))
        if adapter is None:
            return model
        adapter_ref = parse_model(adapter, cwd=cwd)
        listing, read = look(adapter_ref)
        return replace(model, adapter=_adapter(adapter, listing, read), adapter_ref=listing.ref)
    if adapter is not None:
        hint = f"lyc plan BASE --adapter {written}"
        raise SpecError("two-adapters", f"{written} is an adapter itself", where="--adapter", hint=hint)
    found = _adapter(written, listing, read)
    base, base_read = _base(written, found, look, cwd)
    facts = inspect(base, base_read, weights_needed=False)
    return _with_layers(Planned(written, base.ref, facts, found, listing.ref))


def draft(wish: Speculative, planned: Planned, look: Look, *, cwd: Path) -> Draft:
    """What speculative decoding adds. Raises SpecError for a draft that vLLM would refuse."""
    from lyc.engines import speculative, versions
    from lyc.inspection import inspect
    from lyc.spec.model_ref import parse_model

    facts = None
    if wish.model is not None:
        listing, read = look(parse_model(wish.model, cwd=cwd))
        facts = inspect(listing, read, weights_needed=False)
    # What is installed where the endpoint will run is not known here.
    speculative.check(wish, planned.facts, facts, versions.pinned(on_cpu=False), {"arctic-inference"})
    return Draft(wish.method, wish.tokens or speculative.METHODS[wish.method].tokens, facts)


def _is_adapter(listing: Listing) -> bool:
    return listing.file("config.json") is None and listing.file(_ADAPTER) is not None


def _adapter(written: str, listing: Listing, read: Read) -> AdapterFacts:
    from lyc.inspection import inspect_adapter

    if listing.file(_ADAPTER) is None:
        raise SpecError(
            "not-an-adapter",
            f"{written} is no LoRA adapter",
            why=f"it has no {_ADAPTER}",
            where="--adapter",
            hint=f"lyc plan {written}",
        )
    return inspect_adapter(listing, read)


def _base(written: str, adapter: AdapterFacts, look: Look, cwd: Path) -> tuple[Listing, Read]:
    """The files of the model that the adapter was trained on."""
    from lyc.spec.model_ref import parse_model

    hint = f"lyc plan BASE --adapter {written}"
    if not adapter.base:
        raise SpecError(
            "no-base", f"{written} is an adapter that does not say of which model", where=_ADAPTER, hint=hint
        )
    try:
        return look(parse_model(adapter.base, cwd=cwd))
    except LycError as problem:  # a path of the machine where it was trained, most often
        problem.detail = (*problem.detail, f"{written} is an adapter of {adapter.base}")
        problem.hint = hint
        raise


def _with_layers(planned: Planned) -> Planned:
    if planned.facts.architecture is None:
        raise SpecError(
            "no-layers",
            f"{planned.written} cannot be planned: its config.json does not say of what layers it is made",
            why="num_hidden_layers, hidden_size or what stands for them is missing",
            where="config.json",
            hint="plan the model that it was made from",
        )
    return planned
