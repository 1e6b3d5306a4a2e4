"""What the planner foretells of the CPU engine against what a real start of it reports: blocks, tokens, concurrency.

The models are tiny; vLLM makes up their weights (`--load-format dummy`). Two hybrids and a draft, as starts are slow:
`test_kv_engine.py` holds all kinds of cache against the engine's own functions without starting it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from lyc.engines import reported
from lyc.engines.versions import pinned
from lyc.hosts.environment import UvInstaller
from lyc.planning.host.decide import plan
from lyc.records.deployment import DeploymentSpec, Speculative
from lyc.records.engine import Reported
from lyc.records.model import ModelFacts
from lyc.records.plan import HostFacts, Plan
from lyc.spec.settings import load
from lyc.testing.models import TinyModels, tiny_models
from lyc.units import GIB, MIB
from tests.engines.running import Running, running, target
from tests.planning.measured.replay import facts_of

pytestmark = pytest.mark.engine
BUILD = pinned(on_cpu=True)
HOST = HostFacts("box", "Linux", "x86_64", 2, 24 * GIB, 20 * GIB, 1 << 40)
KV_CACHE = 64 * MIB
TOKENIZER = ("generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
SHAPE: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 4096, "hidden_act": "silu",
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS: Mapping[str, Any] = {"moe_intermediate_size": 32, "num_experts_per_tok": 2, "norm_topk_prob": True}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "sliding and full attention": {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 8,
        "sliding_window": 128, "sliding_window_pattern": 6, "query_pre_attn_scalar": 32,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "gated delta nets": {
        "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "num_hidden_layers": 4, **EXPERTS,
        "num_experts": 4, "shared_expert_intermediate_size": 32, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_value_head_dim": 32,
        "partial_rotary_factor": 0.25, "rope_theta": 10000.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def engine_bin() -> Path:
    return UvInstaller(load(os.environ).engines, os.environ).install(BUILD, print)


@pytest.fixture(scope="module")
def tiny() -> TinyModels:
    return tiny_models(load(os.environ).cache, os.environ)


@pytest.fixture
def work() -> Iterator[Path]:
    """Its path is short, because a socket in it may not be longer than 107 bytes."""
    with TemporaryDirectory(prefix="lyc-") as path:
        yield Path(path)


def model_of(family: str, tiny: TinyModels, at: Path) -> Path:
    at.mkdir()
    for name in TOKENIZER:
        if (tiny.base / name).exists():
            shutil.copyfile(tiny.base / name, at / name)
    vocabulary = json.loads((tiny.base / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    config = {**SHAPE, **FAMILIES[family], "vocab_size": vocabulary}
    (at / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None or
                                                key == "q_lora_rank"}))  # fmt: skip
    return at


def planned(model: Path, facts: ModelFacts, draft: ModelFacts | None = None, **spec: Any) -> Plan:
    args = {"kv-cache-memory-bytes": str(KV_CACHE), **spec.pop("engine_args", {})}
    return plan(DeploymentSpec("x", str(model), engine_args=args, **spec), facts, HOST, draft=draft, build=BUILD)


def said_by(engine: Running) -> Reported:
    said = Reported()
    for line in engine.log.read_text(encoding="utf-8", errors="replace").splitlines():
        said = reported.heard(said, line)
    return replace(said, kv_blocks=reported.blocks(engine.metrics()))


def assert_foretold(made: Plan, said: Reported) -> None:
    assert made.forecast is not None
    assert said.kv_blocks == made.forecast.kv_blocks
    assert said.kv_tokens == made.forecast.kv_tokens
    assert said.concurrency == pytest.approx(made.forecast.concurrency, abs=0.006)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kv_cache_of_hybrids(family: str, engine_bin: Path, tiny: TinyModels, work: Path, tmp_path: Path) -> None:
    model = model_of(family, tiny, tmp_path / "model")
    made = planned(model, facts_of(model), max_model_len=2048, engine_args={"load-format": "dummy"})
    with running(made, target(engine_bin, work, model)) as engine:
        assert_foretold(made, said_by(engine))


def test_the_kv_cache_with_a_draft_beside(engine_bin: Path, tiny: TinyModels, work: Path) -> None:
    model, draft = tiny.base, tiny.draft()
    wish = Speculative("draft_model", str(draft), 3)
    made = planned(model, facts_of(model), facts_of(draft), max_model_len=512, speculative=wish)
    with running(made, target(engine_bin, work, model, draft)) as engine:
        assert_foretold(made, said_by(engine))
