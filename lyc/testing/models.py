"""Small models for tests, made from one tiny Llama: quantized, with drafts, and broken in every way that users manage.

`tiny_models(cache, environ)` gives them all. Each variant is made once a machine, when it is first asked for, and is a
folder as `vllm serve` and `lyc deploy` take it. All but the vocabulary is random: they answer, but not sensibly.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lyc.records.model import ModelRef, SourceKind
from lyc.sources.cache import ContentCache
from lyc.sources.sample import SampleSource
from lyc.testing import quantized, tensors
from lyc.testing.tensors import Floats, bf16

Config = dict[str, Any]
_MAKERS = (Path(__file__), Path(quantized.__file__), Path(tensors.__file__))
_CARRIED = ("generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")


def tiny_models(cache: Path, environ: Mapping[str, str]) -> TinyModels:
    """The variants of `sample:tiny`, all kept under the root `cache` of lyc's cache of weights."""
    source = SampleSource(root=cache, environ=environ)
    listing = source.resolve(ModelRef(SourceKind.SAMPLE, "tiny"))
    snapshot = ContentCache(cache).snapshot(source, listing, lambda _done, _total: None)
    return TinyModels(snapshot.path, cache / "testing")


class TinyModels:
    """All variants of one tiny Llama.

    base: its folder (config.json, *.safetensors, tokenizer). folder: where the variants are kept, keyed by what made
    them; several processes may share it.
    """

    def __init__(self, base: Path, folder: Path) -> None:
        self.base = base
        digest = hashlib.sha256()
        for path in (*_MAKERS, *sorted(base.iterdir())):
            digest.update(path.name.encode() + path.read_bytes())
        self._folder = folder / digest.hexdigest()[:16]

    def sharded(self, count: int = 3) -> Path:
        """The weights in several files with an index."""

        def make(out: Path) -> None:
            self._carry(out)
            config, weights = self._read()
            names = sorted(weights)
            placed: dict[str, str] = {}
            for shard in range(count):
                file = f"model-{shard + 1:05d}-of-{count:05d}.safetensors"
                part = names[shard::count]
                tensors.write(out / file, {name: bf16(weights[name]) for name in part})
                placed |= dict.fromkeys(part, file)
            _json(out / "model.safetensors.index.json", {"metadata": {}, "weight_map": placed})
            _json(out / "config.json", config)

        return self._variant(f"sharded-{count}", make)

    def quantized(self, method: str) -> Path:
        """A checkpoint of `lyc.testing.quantized.METHODS`."""

        def make(out: Path) -> None:
            self._carry(out)
            config, weights = self._read()
            config["quantization_config"] = quantized.quantization_config(method)
            if method.startswith(("awq", "gptq")):
                config["torch_dtype"] = "float16"
            tensors.write(out / "model.safetensors", quantized.quantized(weights, method))
            _json(out / "config.json", config)

        return self._variant(method, make)

    def draft(self) -> Path:
        """A one-layer model with the same vocabulary: a draft that may be used (and is nearly always wrong)."""

        def make(out: Path) -> None:
            self._carry(out)
            config, weights = self._read()
            kept = {name: value for name, value in weights.items() if ".layers." not in name or ".layers.0." in name}
            _json(out / "config.json", config | {"num_hidden_layers": 1})
            tensors.write(out / "model.safetensors", {name: bf16(value) for name, value in kept.items()})

        return self._variant("draft", make)

    def other_vocabulary(self) -> Path:
        """A draft with as many tokens, of which two mean each other's text."""

        def make(out: Path) -> None:
            _copy(self.draft(), out)
            tokenizer = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
            vocabulary = tokenizer["model"]["vocab"]
            first, second = sorted(vocabulary, key=vocabulary.__getitem__)[300:302]
            vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
            _json(out / "tokenizer.json", tokenizer)

        return self._variant("other-vocabulary", make)

    def eagle(self, kind: str) -> Path:
        """An untrained head for `eagle` or `eagle3`: it starts and drafts, and is nearly always wrong."""
        third = kind == "eagle3"

        def make(out: Path) -> None:
            self._carry(out)
            config, _ = self._read()
            hidden, wide = config["hidden_size"], config["intermediate_size"]
            queries = hidden
            keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
            random = _Random(7)
            layer, reads = ("midlayer.", 2 * hidden) if third else ("layers.0.", hidden)
            weights = {
                "fc.weight": random(hidden, (3 if third else 2) * hidden),
                f"{layer}self_attn.q_proj.weight": random(queries, reads),
                f"{layer}self_attn.k_proj.weight": random(keys, reads),
                f"{layer}self_attn.v_proj.weight": random(keys, reads),
                f"{layer}self_attn.o_proj.weight": random(hidden, queries),
                f"{layer}mlp.gate_proj.weight": random(wide, hidden),
                f"{layer}mlp.up_proj.weight": random(wide, hidden),
                f"{layer}mlp.down_proj.weight": random(hidden, wide),
                f"{layer}post_attention_layernorm.weight": _ones(hidden),
            }
            config |= {"num_hidden_layers": 1, "tie_word_embeddings": False, "architectures": ["LlamaForCausalLM"]}
            if third:
                weights |= {f"{layer}{name}.weight": _ones(hidden) for name in ("hidden_norm", "input_layernorm")}
                weights |= {"norm.weight": _ones(hidden), "lm_head.weight": random(config["vocab_size"], hidden)}
                config |= {"architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": config["vocab_size"]}
                config["eagle_aux_hidden_state_layer_ids"] = [0, 1, 2]  # the default needs a deeper model
            _json(out / "config.json", config)
            tensors.write(out / "model.safetensors", {name: bf16(value) for name, value in weights.items()})

        return self._variant(kind, make)

    def mtp(self) -> Path:
        """A random GLM-4-MoE of two layers, and a third for multi-token prediction."""

        def make(out: Path) -> None:
            self._carry(out)
            llama, _ = self._read()
            config = _glm4_moe(llama)
            weights = _glm4_moe_weights(config)
            _json(out / "config.json", config)
            tensors.write(out / "model.safetensors", {name: bf16(value) for name, value in weights.items()})

        return self._variant("mtp", make)

    def changed(self, name: str, **changes: object) -> Path:
        """The base with other values in config.json; None takes a key out. name: of the variant, unique."""

        def make(out: Path) -> None:
            _copy(self.base, out)
            config = json.loads((out / "config.json").read_text()) | changes
            _json(out / "config.json", {key: value for key, value in config.items() if value is not None})

        return self._variant(name, make)

    def without(self, *patterns: str) -> Path:
        """The base without the files that match: no tokenizer, no config, no weights."""

        def make(out: Path) -> None:
            _copy(self.base, out)
            for pattern in patterns:
                for path in out.glob(pattern):
                    path.unlink()

        plain = "-".join(pattern.replace("*", "") for pattern in patterns)
        return self._variant(f"without-{plain}", make)

    def truncated(self) -> Path:
        """The base whose weights lack their last third, as after a download that was cut off."""

        def make(out: Path) -> None:
            _copy(self.base, out)
            for path in out.glob("*.safetensors"):
                os.truncate(path, path.stat().st_size * 2 // 3)

        return self._variant("truncated", make)

    def pickle(self) -> Path:
        """The base with `pytorch_model.bin` in place of safetensors. The file holds no object that could be loaded."""

        def make(out: Path) -> None:
            _copy(self.without("*.safetensors"), out)
            (out / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")

        return self._variant("pickle", make)

    def _read(self) -> tuple[Config, dict[str, Floats]]:
        return json.loads((self.base / "config.json").read_text(encoding="utf-8")), tensors.read(self.base)

    def _carry(self, out: Path) -> None:
        for name in _CARRIED:
            if (self.base / name).exists():
                shutil.copyfile(self.base / name, out / name)

    def _variant(self, name: str, make: Callable[[Path], None]) -> Path:
        """The folder of a variant, made now if it is not there; of two that make it at once, one wins whole."""
        path = self._folder / name
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self._folder))
            try:
                make(partial)
                partial.chmod(0o755)
                partial.rename(path)
            except OSError:
                if not path.exists():
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return path


def _copy(source: Path, out: Path) -> None:
    """Contents only: what is in a cache is read-only, and these files are to be changed."""
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, out / path.name)


class _Random:
    """Small random matrices, the same in every run."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> Floats:
        return self._generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def _ones(size: int) -> Floats:
    return np.ones(size, np.float32)


def _json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _glm4_moe(llama: Config) -> Config:
    """config.json of a dense layer, a layer of experts, and one more of them for prediction."""
    return {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 128,
        "moe_intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
        "first_k_dense_replace": 1,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "partial_rotary_factor": 0.5,
        "attention_bias": False,
        "use_qk_norm": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": llama["max_position_embeddings"],
        "vocab_size": llama["vocab_size"],
        "tie_word_embeddings": False,
        "bos_token_id": llama["bos_token_id"],
        "eos_token_id": llama["eos_token_id"],
        "torch_dtype": "bfloat16",
    }


def _glm4_moe_weights(config: Config) -> dict[str, Floats]:
    random = _Random(11)
    hidden, dense, expert = config["hidden_size"], config["intermediate_size"], config["moe_intermediate_size"]
    vocabulary = config["vocab_size"]
    weights = {
        "model.embed_tokens.weight": random(vocabulary, hidden),
        "model.norm.weight": _ones(hidden),
        "lm_head.weight": random(vocabulary, hidden),
    }
    for layer in range(3):
        base = f"model.layers.{layer}."
        weights |= {f"{base}{name}.weight": _ones(hidden) for name in ("input_layernorm", "post_attention_layernorm")}
        weights |= {f"{base}self_attn.{name}_proj.weight": random(hidden, hidden) for name in "qkvo"}
    weights |= _mlp("model.layers.0.mlp.", dense, hidden, random)
    for base in ("model.layers.1.mlp.", "model.layers.2.mlp."):
        weights[f"{base}gate.weight"] = random(config["n_routed_experts"], hidden)
        weights[f"{base}gate.e_score_correction_bias"] = np.zeros(config["n_routed_experts"], np.float32)
        for number in range(config["n_routed_experts"]):
            weights |= _mlp(f"{base}experts.{number}.", expert, hidden, random)
        weights |= _mlp(f"{base}shared_experts.", expert, hidden, random)
    last = "model.layers.2."
    weights |= {f"{last}{name}.weight": _ones(hidden) for name in ("enorm", "hnorm", "shared_head.norm")}
    return weights | {
        f"{last}eh_proj.weight": random(hidden, 2 * hidden),
        f"{last}embed_tokens.weight": weights["model.embed_tokens.weight"],
        f"{last}shared_head.head.weight": weights["lm_head.weight"],
    }


def _mlp(base: str, wide: int, hidden: int, random: _Random) -> dict[str, Floats]:
    return {
        f"{base}gate_proj.weight": random(wide, hidden),
        f"{base}up_proj.weight": random(wide, hidden),
        f"{base}down_proj.weight": random(hidden, wide),
    }
