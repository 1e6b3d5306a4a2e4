"""`lyc plan` of models on a hub and in a bucket: a few small requests, and never the weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tests.sources import hub, s3server

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 32000,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16", "tie_word_embeddings": True,
}  # fmt: skip
HIDDEN, WIDE, KV = 256, 512, 128


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (32000, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.self_attn.q_proj.weight": (HIDDEN, HIDDEN), f"{at}.self_attn.k_proj.weight": (KV, HIDDEN),
            f"{at}.self_attn.v_proj.weight": (KV, HIDDEN), f"{at}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{at}.mlp.gate_proj.weight": (WIDE, HIDDEN), f"{at}.mlp.up_proj.weight": (WIDE, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, WIDE), f"{at}.input_layernorm.weight": (HIDDEN,),
            f"{at}.post_attention_layernorm.weight": (HIDDEN,),
        }  # fmt: skip
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small Llama of 18 MB, all zeros, without a tokenizer."""
    made = tmp_path / "small"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    header, at = {}, 0
    for name, shape in shapes().items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    (made / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    return made


def test_a_model_on_a_hub(home: Home, folder: Path) -> None:
    with hub.Server() as running:
        commit = running.add("acme/small", folder)
        code, out, err = home.run("plan", "hf:acme/small", "--gpu", "l4", "--json", HF_ENDPOINT=running.url)
        assert (code, err) == (0, "")
        assert running.sent < 300_000, "headers, and no weights"
    model = json.loads(out)["model"]
    assert (model["ref"], model["revision"]) == (f"hf:acme/small@{commit}", commit)
    assert model["tensors_from"] == "headers"
    assert model["parameters"] == sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes().values())
    assert sorted(path.name for path in home.path.iterdir()) == ["lyc.db"], "and nothing is left behind"


def test_a_model_in_a_bucket(home: Home, folder: Path, tmp_path: Path) -> None:
    with s3server.Server(tmp_path / "s3") as line:
        bucket = line.folder / "models"
        bucket.mkdir()
        folder.rename(bucket / "small")
        keys = {"AWS_ACCESS_KEY_ID": s3server.KEY, "AWS_SECRET_ACCESS_KEY": s3server.SECRET}
        words = ("plan", "s3://models/small", "--s3-endpoint", line.url, "--gpu", "l4")
        code, out, err = home.run(*words, "--json", **keys)
        assert (code, err) == (0, "")
        assert line.sent < 300_000
        assert json.loads(out)["model"]["ref"] == "s3://models/small"
        assert s3server.SECRET not in out
        code, out, err = home.run(*words)
        assert (code, out, err.startswith("error[")) == (4, "", True), "without credentials"


def test_a_hub_that_does_not_answer(home: Home) -> None:
    code, out, err = home.run("plan", "hf:acme/small", HF_ENDPOINT="http://127.0.0.1:9")
    assert (code, out) == (6, "")
    assert err.startswith("error[hub-unreachable]: ")
