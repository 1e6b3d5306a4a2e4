"""The same model with weights of 4 bits, foretold from the config of the one that is not quantized."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyc.inspection import inspect
from lyc.inspection.siblings import sibling
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.fit import fit
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind
from lyc.records.wish import Wish
from lyc.units import GIB

CONFIGS = Path(__file__).parent / "measured" / "configs"


def of(name: str) -> ModelFacts | None:
    text = (CONFIGS / f"{name}.json").read_bytes()
    listing = Listing(ModelRef(SourceKind.LOCAL, f"/{name}"), (SourceFile("config.json", len(text)),))

    def read(_file: SourceFile, start: int, length: int | None) -> bytes:
        return text[start:][: length or None]

    return sibling(inspect(listing, read, weights_needed=False), listing, read)


def test_it_weighs_what_a_published_one_was_logged_with() -> None:
    found = of("meta-llama--Llama-3.1-8B-Instruct")
    assert found is not None
    one = fit(found, Wish((0, 19, 0), max_model_len=8192), CARDS["h100"], tp=1, pp=1, quantization=None)
    assert one.size("weights") / GIB == pytest.approx(5.38, rel=0.01)  # start 60 of tests/planning/measured


def test_routers_and_encoders_stay_as_they_are() -> None:
    found = of("Qwen--Qwen3-VL-30B-A3B-Instruct")
    assert found is not None
    packed = {group.name for group in found.tensors if group.name.endswith("weight_packed")}
    assert any("experts" in name for name in packed)
    assert not any("visual" in name or name.endswith("mlp.gate.weight_packed") for name in packed)


def test_what_is_quantized_has_none() -> None:
    assert of("Qwen--Qwen3-8B-FP8") is None
