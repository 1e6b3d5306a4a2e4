"""LoRA adapters, and what is none."""

from __future__ import annotations

import json
import struct

import pytest

from lyc.errors import SpecError
from lyc.inspection import inspect_adapter
from lyc.records.architecture import AdapterFacts
from tests.inspection.folders import folder

CONFIG: dict[str, object] = {
    "peft_type": "LORA", "base_model_name_or_path": "acme/base", "r": 16, "lora_alpha": 32,
    "target_modules": ["v_proj", "q_proj"],
}  # fmt: skip


def weights(size: int, dtype: str) -> bytes:
    row = {"dtype": dtype, "shape": [size // 2], "data_offsets": [0, size]}
    text = json.dumps({"base_model.model.layers.0.q_proj.lora_A.weight": row}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def adapter(**changes: object) -> AdapterFacts:
    files = {"adapter_config.json": json.dumps({**CONFIG, **changes}).encode()}
    return inspect_adapter(*folder({**files, "adapter_model.safetensors": weights(64, "BF16")}))


def test_what_an_adapter_is() -> None:
    assert adapter() == AdapterFacts("acme/base", 16, ("q_proj", "v_proj"), 32, 64, "bfloat16")


def test_the_largest_rank_counts() -> None:
    assert adapter(rank_pattern={"q_proj": 64, "v_proj": 8}).rank == 64


def test_targets_may_be_one_pattern() -> None:
    assert adapter(target_modules="all-linear").targets == ("all-linear",)


def test_weights_may_be_absent() -> None:
    found = inspect_adapter(*folder({"adapter_config.json": json.dumps(CONFIG).encode()}))
    assert (found.weights_bytes, found.dtype) == (None, None)


@pytest.mark.parametrize(
    ("files", "ref"),
    [
        ({}, "no-adapter"),
        ({"adapter_config.json": b"{}"}, "invalid-adapter"),
        ({"adapter_config.json": b"{"}, "invalid-json"),
        ({"adapter_config.json": b'{"peft_type": "PROMPT_TUNING", "r": 8}'}, "not-lora"),
        ({"adapter_config.json": b'{"r": 0}'}, "invalid-adapter"),
        ({"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": weights(64, "BF16")[:-1]},
         "truncated-weights"),
    ],
)  # fmt: skip
def test_what_is_no_adapter(files: dict[str, bytes], ref: str) -> None:
    with pytest.raises(SpecError) as caught:
        inspect_adapter(*folder(files))
    assert caught.value.ref == ref
    assert caught.value.hint
