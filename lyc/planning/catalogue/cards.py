"""The catalogue of GPUs, read once from `data/cards.json`, where every figure stands beside its source.

Rates are dense, never with sparsity, and those of GEMMs that accumulate in fp32, as vLLM's do: on GeForce cards that is
half of what is advertised. Sizes are what CUDA reports (`cudaMemGetInfo`), of which vLLM takes its part: on Linux the
driver keeps 0.3 to 0.9 GiB of what nvidia-smi shows, on WSL nothing. Where no log was found the reserve of the most
alike card is taken off nvidia-smi's figure, and `measured` is False; it is then good to about ±0.2 GiB.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lyc.errors import UsageError
from lyc.planning.catalogue.precision import runs
from lyc.records.card import Card
from lyc.units import GIB

__all__ = ["CARDS", "canonical", "find", "nearest", "of_product", "runs"]

_FILLER = re.compile(r"^(?:nvidia|amd)?(?:geforce|tesla|quadro|instinct)?|generation$")
_TERA, _GIGA = 10**12, 10**9


def find(name: str, where: str = "--gpu") -> Card:
    """The card of a name, an alias or a product's name: case, spaces and dashes do not count.

    `h100`, `H100-SXM`, `NVIDIA H100 80GB HBM3` → H100 SXM. Raises UsageError `unknown-gpu` with the nearest names.
    """
    card = _BY_KEY.get(_key(name))
    if card is not None:
        return card
    alike = nearest(name)
    asked = f"did you mean {' or '.join(alike)}? " if alike else ""
    raise UsageError(
        "unknown-gpu",
        f"the catalogue has no GPU {name!r}",
        where=where,
        hint=f"{asked}lyc gpus lists all",
    )


def canonical(name: str) -> str:
    """The catalogue's name for what was written, or that itself where the catalogue has no such card."""
    card = _BY_KEY.get(_key(name))
    return name if card is None else card.name


def of_product(product: str) -> Card | None:
    """The card that nvidia-smi calls so, else None: a product that only resembles one is not taken for it."""
    return _BY_PRODUCT.get(_key(product))


def nearest(name: str, count: int = 3) -> list[str]:
    """The cards whose names are most like `name`, best first; may be empty."""
    key = _key(name)
    matches = difflib.get_close_matches(key, _BY_KEY, n=count * 3, cutoff=0.6)
    matches += [known for known in _BY_KEY if key and len(key) > 1 and known.startswith(key)]
    return list(dict.fromkeys(_BY_KEY[match].name for match in matches))[:count]


def _key(name: str) -> str:
    return _FILLER.sub("", re.sub(r"[^a-z0-9]", "", name.lower()))


def _load() -> dict[str, Card]:
    # Not by importlib.resources, which takes 20 ms to import where `lyc gpus` has 50.
    text = (Path(__file__).parent / "data" / "cards.json").read_text(encoding="utf-8")
    return {name: _card(name, row) for name, row in json.loads(text).items()}


def _card(name: str, row: Mapping[str, Any]) -> Card:
    rates = {kind: round(rate * _TERA) for kind, rate in row["tflops"].items()}
    return Card(
        name=name,
        product=row["products"][0],
        vendor=row["vendor"],
        memory=row["memory_gb"] * GIB,
        cuda_total=round(row["cuda_gib"] * GIB),
        measured=row["measured"],
        bandwidth=row["bandwidth_gb_s"] * _GIGA,
        bf16=rates["bf16"],
        fp16=rates["fp16"],
        fp8=rates["fp8"],
        fp4=rates["fp4"],
        compute_capability=row["compute_capability"],
        link=row["link"],
        per_host=row["per_host"],
        sources=tuple(f"{field}: {source}" for field, source in row["sources"].items()),
        int8=rates["int8"],
        link_bandwidth=row["link_gb_s"] * _GIGA,
        aliases=tuple(row["aliases"]),
        products=tuple(row["products"]),
        memory_kind=row["memory_kind"],
    )


CARDS: Mapping[str, Card] = MappingProxyType(_load())
"""By name, from the smallest to the largest of each vendor."""

_BY_PRODUCT = {_key(product): card for card in CARDS.values() for product in card.products}
_BY_KEY = {**_BY_PRODUCT, **{_key(name): card for card in CARDS.values() for name in (card.name, *card.aliases)}}
