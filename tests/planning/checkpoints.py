"""Checkpoints by hand, as their safetensors headers would have them: what the tests of weights start from.

`dense`, `latent_moe` and `gpt_oss` build ModelFacts whose tensors stand in Hugging Face naming; `quantized` turns the
linear layers of one into a stored quantized form. Sizes of real models are those of their config.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lyc.records.architecture import Architecture, Experts, Latent, Layer, Mixer, Rope, TensorGroup, TensorsFrom
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage

LAYER = "model.layers.{layer}."


def facts(architecture: Architecture, tensors: Iterable[TensorGroup]) -> ModelFacts:
    return ModelFacts((architecture.name,), architecture=architecture, tensors=tuple(tensors))


def dense(
    *,
    hidden: int,
    inner: int,
    layers: int,
    vocab: int,
    heads: int,
    kv_heads: int,
    head: int = 128,
    positions: int = 131072,
    tied: bool = False,
    bias: bool = False,
    norms: bool = False,
    name: str = "LlamaForCausalLM",
    dtype: str = "BF16",
) -> ModelFacts:
    """A decoder as Llama's. bias: of q, k and v, as Qwen2 has; norms: of q and k, as Qwen3 has."""
    numbers = tuple(range(layers))
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (heads * head, hidden),
        "self_attn.k_proj.weight": (kv_heads * head, hidden),
        "self_attn.v_proj.weight": (kv_heads * head, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    if bias:
        shapes |= {"self_attn.q_proj.bias": (heads * head,)}
        shapes |= {f"self_attn.{part}_proj.bias": (kv_heads * head,) for part in "kv"}
    if norms:
        shapes |= {f"self_attn.{part}_norm.weight": (head,) for part in "qk"}
    layer = Layer(Mixer.FULL, heads, kv_heads, head, head, intermediate=inner)
    architecture = Architecture(
        name, hidden, vocab, "bfloat16", (layer,) * layers, positions, tied, (), (Rope(positions, head),)
    )
    return facts(architecture, [*_ends(hidden, vocab, tied, dtype), *_layered(shapes, numbers, dtype)])


def latent_moe(
    *, hidden: int, layers: int, vocab: int, heads: int, experts: Experts, latent: Latent, dense_inner: int
) -> ModelFacts:
    """A decoder as DeepSeek V2 Lite's: MLA, the first layer dense, the others with routed and shared experts."""
    inner, shared = experts.intermediate, experts.shared_intermediate
    attention: dict[str, tuple[int, ...]] = {
        "self_attn.kv_a_proj_with_mqa.weight": (latent.kv_rank + latent.rope, hidden),
        "self_attn.kv_a_layernorm.weight": (latent.kv_rank,),
        "self_attn.kv_b_proj.weight": (heads * (latent.nope + latent.value), latent.kv_rank),
        "self_attn.o_proj.weight": (hidden, heads * latent.value),
        "self_attn.q_proj.weight": (heads * (latent.nope + latent.rope), hidden),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    first: dict[str, tuple[int, ...]] = {
        "mlp.gate_proj.weight": (dense_inner, hidden),
        "mlp.up_proj.weight": (dense_inner, hidden),
        "mlp.down_proj.weight": (hidden, dense_inner),
    }
    others: dict[str, tuple[int, ...]] = {
        "mlp.gate.weight": (experts.count, hidden),
        "mlp.shared_experts.gate_proj.weight": (shared, hidden),
        "mlp.shared_experts.up_proj.weight": (shared, hidden),
        "mlp.shared_experts.down_proj.weight": (hidden, shared),
    }
    later = tuple(range(1, layers))
    routed = [
        TensorGroup(f"{LAYER}mlp.experts.{{expert}}.{part}.weight", shape, "BF16", later, experts.count)
        for part, shape in (
            ("gate_proj", (inner, hidden)),
            ("up_proj", (inner, hidden)),
            ("down_proj", (hidden, inner)),
        )
    ]
    one = Layer(Mixer.LATENT, heads, heads, latent.nope + latent.rope, latent.value, latent=latent)
    stack = (replace(one, intermediate=dense_inner), *(replace(one, experts=experts),) * (layers - 1))
    architecture = Architecture(
        "DeepseekV2ForCausalLM", hidden, vocab, "bfloat16", stack, 163840, ropes=(Rope(163840, latent.rope),)
    )
    tensors = [
        *_ends(hidden, vocab, False, "BF16"),
        *_layered(attention, tuple(range(layers)), "BF16"),
        *_layered(first, (0,), "BF16"),
        *_layered(others, later, "BF16"),
        *routed,
    ]
    return facts(architecture, tensors)


def gpt_oss(*, layers: int, experts: int) -> ModelFacts:
    """gpt-oss as published: experts packed in MXFP4, all else in 16 bit."""
    hidden, inner, heads, kv_heads, head = 2880, 2880, 64, 8, 64
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (heads * head, hidden),
        "self_attn.k_proj.weight": (kv_heads * head, hidden),
        "self_attn.v_proj.weight": (kv_heads * head, hidden),
        "self_attn.q_proj.bias": (heads * head,),
        "self_attn.k_proj.bias": (kv_heads * head,),
        "self_attn.v_proj.bias": (kv_heads * head,),
        "self_attn.o_proj.weight": (hidden, heads * head),
        "self_attn.o_proj.bias": (hidden,),
        "self_attn.sinks": (heads,),
        "mlp.router.weight": (experts, hidden),
        "mlp.router.bias": (experts,),
        "mlp.experts.gate_up_proj_bias": (experts, 2 * inner),
        "mlp.experts.down_proj_bias": (experts, hidden),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    packed: dict[str, tuple[int, ...]] = {
        "mlp.experts.gate_up_proj_blocks": (experts, 2 * inner, hidden // 32, 16),
        "mlp.experts.gate_up_proj_scales": (experts, 2 * inner, hidden // 32),
        "mlp.experts.down_proj_blocks": (experts, hidden, inner // 32, 16),
        "mlp.experts.down_proj_scales": (experts, hidden, inner // 32),
    }
    numbers = tuple(range(layers))
    layer = Layer(Mixer.FULL, heads, kv_heads, head, head, experts=Experts(experts, 4, inner))
    architecture = Architecture(
        "GptOssForCausalLM", hidden, 201088, "bfloat16", (layer,) * layers, 131072, ropes=(Rope(131072, head),)
    )
    tensors = [
        *_ends(hidden, 201088, False, "BF16"),
        *_layered(shapes, numbers, "BF16"),
        *_layered(packed, numbers, "U8"),
    ]
    return replace(facts(architecture, tensors), quantization="mxfp4")


def quantized(model: ModelFacts, method: str, detail: Mapping[str, object] | None = None) -> ModelFacts:
    """The same model with the linear layers of its decoder stored as `method`: `fp8-channel`, `fp8-block`, `awq` (4
    bit, groups of 128), `gptq` (likewise), `w4a16` (compressed-tensors), `nvfp4` or `bnb` (nf4, nested scales).
    """
    forms = {
        "fp8-channel": lambda out, into: {"weight": ((out, into), "F8_E4M3"), "weight_scale": ((out, 1), "BF16")},
        "fp8-block": lambda out, into: {
            "weight": ((out, into), "F8_E4M3"), "weight_scale_inv": ((-(-out // 128), -(-into // 128)), "F32"),
        },
        "awq": lambda out, into: {
            "qweight": ((into, out // 8), "I32"), "qzeros": ((into // 128, out // 8), "I32"),
            "scales": ((into // 128, out), "F16"),
        },
        "gptq": lambda out, into: {
            "qweight": ((into // 8, out), "I32"), "qzeros": ((into // 128, out // 8), "I32"),
            "scales": ((into // 128, out), "F16"), "g_idx": ((into,), "I32"),
        },
        "w4a16": lambda out, into: {
            "weight_packed": ((out, into // 8), "I32"), "weight_scale": ((out, into // 128), "BF16"),
            "weight_shape": ((2,), "I64"),
        },
        "nvfp4": lambda out, into: {
            "weight_packed": ((out, into // 2), "U8"), "weight_scale": ((out, into // 16), "F8_E4M3"),
            "weight_global_scale": ((1,), "F32"), "input_global_scale": ((1,), "F32"),
        },
        "bnb": lambda out, into: {
            "weight": ((out * into // 2, 1), "U8"), "weight.absmax": ((out * into // 64,), "U8"),
            "weight.nested_absmax": ((out * into // 64 // 256,), "F32"), "weight.quant_map": ((16,), "F32"),
            "weight.nested_quant_map": ((256,), "F32"), "weight.quant_state.bitsandbytes__nf4": ((80,), "U8"),
        },
    }  # fmt: skip
    tensors: list[TensorGroup] = []
    for group in model.tensors:
        stem, _, leaf = group.name.rpartition(".")
        if leaf == "weight" and stem.endswith("_proj") and len(group.shape) == 2:
            parts = forms[method](*group.shape)
            tensors += [replace(group, name=f"{stem}.{leaf}", shape=s, dtype=d) for leaf, (s, d) in parts.items()]
        else:
            tensors.append(group)
    names = {"fp8-channel": "compressed-tensors", "fp8-block": "fp8", "w4a16": "compressed-tensors",
             "nvfp4": "compressed-tensors", "bnb": "bitsandbytes"}  # fmt: skip
    return replace(
        model, quantization=names.get(method, method), tensors=tuple(tensors), quantization_detail=dict(detail or {})
    )


def whole(model: ModelFacts) -> Stage:
    assert model.architecture is not None
    return Stage(0, 1, 0, len(model.architecture.layers))


def serving(**options: object) -> Serving:
    return replace(Serving(version=(0, 19, 0)), **options)  # type: ignore[arg-type]


def from_config(model: ModelFacts, total: int | None) -> ModelFacts:
    """The same, as if its tensors had been made up from config.json and an index had told the total."""
    return replace(model, tensors_from=TensorsFrom.INDEX if total else TensorsFrom.CONFIG, weights_bytes=total)


def _ends(hidden: int, vocab: int, tied: bool, dtype: str) -> list[TensorGroup]:
    names = ["model.embed_tokens.weight", *([] if tied else ["lm_head.weight"])]
    tables = [TensorGroup(name, (vocab, hidden), dtype) for name in names]
    return [*tables, TensorGroup("model.norm.weight", (hidden,), dtype)]


def _layered(shapes: Mapping[str, tuple[int, ...]], layers: tuple[int, ...], dtype: str) -> list[TensorGroup]:
    return [TensorGroup(LAYER + name, shape, dtype, layers) for name, shape in shapes.items()]


LLAMA_8B = dense(hidden=4096, inner=14336, layers=32, vocab=128256, heads=32, kv_heads=8)
LLAMA_70B = dense(hidden=8192, inner=28672, layers=80, vocab=128256, heads=64, kv_heads=8)
QWEN2_7B = dense(
    hidden=3584, inner=18944, layers=28, vocab=152064, heads=28, kv_heads=4, positions=32768, bias=True,
    name="Qwen2ForCausalLM",
)  # fmt: skip
QWEN2_72B = dense(
    hidden=8192, inner=29568, layers=80, vocab=152064, heads=64, kv_heads=8, positions=32768, bias=True,
    name="Qwen2ForCausalLM",
)  # fmt: skip
QWEN3_8B = dense(
    hidden=4096, inner=12288, layers=36, vocab=151936, heads=32, kv_heads=8, positions=40960, norms=True,
    name="Qwen3ForCausalLM",
)  # fmt: skip
QWEN3_600M = dense(
    hidden=1024, inner=3072, layers=28, vocab=151936, heads=16, kv_heads=8, positions=40960, norms=True, tied=True,
    name="Qwen3ForCausalLM",
)  # fmt: skip
GRANITE_2B = dense(
    hidden=2048, inner=8192, layers=40, vocab=49155, heads=32, kv_heads=8, head=64, tied=True,
    name="GraniteForCausalLM",
)  # fmt: skip
DEEPSEEK_LITE = latent_moe(
    hidden=2048, layers=27, vocab=102400, heads=16, experts=Experts(64, 6, 1408, 2816),
    latent=Latent(kv_rank=512, rope=64, nope=128, value=128), dense_inner=10944,
)  # fmt: skip
