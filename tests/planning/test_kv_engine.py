"""The engine's own arithmetic, on the same layers and memory: every integer must be the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from lyc.engines.versions import VLLM_VERSION, pinned
from lyc.hosts.environment import UvInstaller
from lyc.planning.cache import kv_layout
from lyc.records.architecture import Layer
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving
from lyc.spec.settings import load
from tests.planning.kv_models import GIB, MODELS, layout, stages

CASES = 400
VERSION = tuple(int(part) for part in VLLM_VERSION.split("."))
NAMES = sorted(set(MODELS) - {"falcon-h1-7b", "mamba-2.7b", "nemotron-3-nano"})


@pytest.fixture(scope="module")
def python() -> Path:
    """Python of the CPU engine, if the machine has it; nothing is installed for this."""
    found = UvInstaller(load(os.environ).engines, os.environ).bin_dir(pinned(on_cpu=True))
    if found is None:
        pytest.skip("no engine is installed")
    return found / "python"


@pytest.mark.slow
def test_integers_of_the_engine(python: Path) -> None:
    chance = random.Random(32)
    asked = [_case(chance) for _ in range(CASES)]
    script = Path(__file__).with_name("kv_reference.py")
    text = json.dumps([_document(model, serving, room) for model, serving, room in asked])
    done = subprocess.run([python, script], input=text, capture_output=True, text=True, check=True, timeout=300)
    answers = json.loads(done.stdout)
    refused = 0
    for (model, serving, room), answer in zip(asked, answers, strict=True):
        found = [layout(model, serving, at) for at in range(serving.pp)]
        fits = [one.request_bytes <= memory for one, memory in zip(found, room, strict=True)]
        if "longest" in answer:
            refused += 1
            first = fits.index(False)
            assert kv_layout.longest(found[first], room[first], serving) == answer["longest"]
            continue
        assert all(fits)
        sizes = [kv_layout.size(one, memory, serving) for one, memory in zip(found, room, strict=True)]
        size = min(sizes, key=lambda one: one.blocks)
        assert {"blocks": size.blocks, "tokens": size.tokens, "concurrency": size.concurrency} == answer
    assert CASES // 20 < refused < CASES


def _case(chance: random.Random) -> tuple[ModelFacts, Serving, list[int]]:
    model = MODELS[chance.choice(NAMES)]
    latent = any(layer.latent for layer in model.architecture.layers) if model.architecture else False
    serving = Serving(
        VERSION,
        kv_cache_dtype="auto" if latent else chance.choice(["auto", "fp8"]),
        tp=chance.choice([1, 2, 4]),
        pp=chance.choice([1, 1, 2, 3]),
        max_model_len=chance.choice([2048, 8192, 30000, 131072]),
        max_num_batched_tokens=chance.choice([2048, 8192]),
        capability=90,
    )
    rooms = [int(chance.choice([0.2, 1, 8, 60]) * chance.uniform(0.2, 1) * GIB) for _ in range(serving.pp)]
    return model, serving, rooms


def _document(model: ModelFacts, serving: Serving, room: list[int]) -> dict[str, object]:
    assert model.architecture is not None
    layers = model.architecture.layers
    return {
        "stages": [[_layer(layer) for layer in layers[one.first : one.last]] for one in stages(model, serving)],
        "available": room,
        "length": serving.max_model_len,
        "batch": serving.max_num_batched_tokens,
        "tp": serving.tp,
        "fp8": serving.kv_cache_dtype == "fp8",
    }


def _layer(layer: Layer) -> dict[str, object]:
    found: dict[str, object] = {"mixer": layer.mixer.value, "kv": layer.kv_heads, "size": layer.head_size}
    if layer.window:
        found["window"] = layer.window
    if layer.latent:
        found |= {"width": layer.latent.kv_rank + layer.latent.rope, "index": layer.latent.index_head_size}
    if state := layer.state:
        found |= {
            "inner": state.heads * state.head_size, "heads": state.heads, "size": state.head_size,
            "columns": state.state_size, "groups": state.groups, "kernel": state.conv_kernel,
            "dtype": "float32" if layer.mixer.value == "kimi-delta" else state.dtype,
        }  # fmt: skip
    return found
