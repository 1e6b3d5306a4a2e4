"""config.json of a hundred public models: inspection finds the parameters that transformers gives their classes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lyc.inspection import inspect
from lyc.records.architecture import Mixer
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind

MEASURED = Path(__file__).parents[1] / "planning/measured"
COUNTS = {
    name: entry["parameters"]
    for name, entry in json.loads((MEASURED / "configs.json").read_text(encoding="utf-8")).items()
    if "parameters" in entry
}


def config_of(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MEASURED / "configs" / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def facts_of(config: dict[str, Any]) -> ModelFacts:
    data = json.dumps(config).encode()
    listing = Listing(ModelRef(SourceKind.LOCAL, "/model"), (SourceFile("config.json", len(data)),))
    return inspect(listing, lambda _, start, n: data[start : None if n is None else start + n], weights_needed=False)


def parameters(facts: ModelFacts) -> int:
    """Of the language model, less layers for multi-token prediction."""
    assert facts.architecture is not None
    layers = len(facts.architecture.layers)
    return sum(
        math.prod(group.shape) * group.count
        for group in facts.tensors
        if not group.name.startswith("mtp.") and (not group.layers or min(group.layers) < layers)
    )


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name: str) -> None:
    config = config_of(name)
    for part in (config, config.get("text_config", {})):
        part.pop("quantization_config", None)
    facts = facts_of(config)
    assert facts.architecture is not None
    if not facts.architecture.known:
        pytest.skip("not of a known family")
    if facts.architecture.towers:  # whose tensors may be left out; none of these has an encoder of more than 1.5 B
        assert COUNTS[name] - 1.5e9 <= parameters(facts) <= COUNTS[name] * 1.001
    else:
        assert parameters(facts) == pytest.approx(COUNTS[name], rel=0.001)


def test_null_is_no_default() -> None:
    """`"sliding_window": null` and `"q_lora_rank": null` mean none, though the classes have defaults for them."""
    mistral = facts_of(config_of("mistralai--Mistral-7B-Instruct-v0.3")).architecture
    deepseek = facts_of(config_of("deepseek-ai--DeepSeek-V2-Lite-Chat")).architecture
    assert mistral is not None
    assert deepseek is not None
    assert {layer.mixer for layer in mistral.layers} == {Mixer.FULL}
    assert deepseek.layers[0].latent is not None
    assert deepseek.layers[0].latent.q_rank is None
