"""What vLLM allocates while it loads a model that is in no checkpoint: tables, copies, work buffers.

Each function returns (name, bytes of each tensor, how many, formula, source) entries; `loaded` makes terms
of them. Sizes in bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lyc.planning.weights.formats import RUNTIME, WHILE_LOADING
from lyc.planning.weights.roles import Region, role
from lyc.records.architecture import Architecture, Latent, Layer, Mixer
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage
from lyc.units import MIB

_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_WORKSPACE = 128 * MIB
_DEEPSTACK = frozenset((
    "Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration", "Qwen3OmniMoeForConditionalGeneration",
))  # fmt: skip
_INDEX = 4  # bytes of an int32


@dataclass(frozen=True, slots=True)
class Beside:
    """Tensors that are alike: `count` of `size` bytes each. early: allocated with the first layer, not at the end."""

    name: str
    size: int
    count: int
    formula: str
    source: str
    early: bool = True


def beside(facts: ModelFacts, serving: Serving, stage: Stage, card: Card | None) -> tuple[Beside, ...]:
    """All of them for one rank of `stage`."""
    architecture = facts.architecture
    if architecture is None:
        return ()
    layers = architecture.layers[stage.first : stage.last]
    found = [*_ropes(architecture, serving)]
    if any(layer.latent for layer in layers):
        found += _latent_workspaces(serving, card)
        found += _absorbed(facts, layers, serving)
        found += _sparse(layers, serving)
    found += _input_buffers(facts, architecture, serving, stage)
    return tuple(found)


def _width(serving: Serving) -> int:
    return RUNTIME.get(serving.dtype, 2)


def _ropes(architecture: Architecture, serving: Serving) -> Iterator[Beside]:
    """One table for all layers that rotate alike (`_ROPE_DICT`), whole on every rank and stage, in the run-time dtype.

    `RotaryEmbedding.__init__` casts to the dtype; the float32 table of `DeepseekScalingRotaryEmbedding` is only for
    FlashInfer's kernel, which the compiled model does not use (custom ops are off under inductor).
    """
    for rope in architecture.ropes:
        yield Beside(
            "rope table",
            rope.positions * rope.dim * _width(serving),
            1,
            f"{rope.positions} positions × {rope.dim} × {_width(serving)} B",
            "vllm/model_executor/layers/rotary_embedding/base.py RotaryEmbedding, 0.19.0",
        )


def _latent_workspaces(serving: Serving, card: Card | None) -> Iterator[Beside]:
    """Buffers that MLA backends allocate when their module is imported, which asking all backends does."""
    if serving.on_cpu or (card is not None and card.vendor.lower() != "nvidia"):
        return
    blackwell = card is not None and 100 <= (card.compute_capability or 0) < 110
    if (0, 11, 2) <= serving.version < (0, 25):
        yield Beside(
            "MLA workspace",
            _WORKSPACE,
            1,
            "128 MiB",
            "vllm/v1/attention/backends/mla/flashinfer_mla.py g_fi_workspace, 0.11.2 to 0.24",
        )
    if blackwell and serving.version >= (0, 10, 2):
        yield Beside(
            "MLA workspace of CUTLASS",
            _WORKSPACE,
            1,
            "128 MiB",
            "vllm/v1/attention/backends/mla/cutlass_mla.py g_sm100_workspace, 0.19.0",
        )


def _absorbed(facts: ModelFacts, layers: tuple[Layer, ...], serving: Serving) -> Iterator[Beside]:
    """A quantized `kv_b_proj` is unpacked to 16 bit and stays; of an unquantized one there are only views.

    0.7 multiplied the projections beforehand instead and kept the products beside the factors.
    """
    up = next((group for group in facts.tensors if role(group.name).module.endswith("kv_b_proj")), None)
    quantized = up is not None and up.dtype not in _FLOATS
    quantized = quantized or (facts.quantization is None and serving.quantization in WHILE_LOADING)
    latents = [(layer.heads, layer.latent) for layer in layers if layer.latent]
    heads, latent = max(latents[0][0] // serving.tp, 1), latents[0][1]
    if (0, 7) <= serving.version < (0, 8):
        yield _multiplied(facts, latent, heads, len(latents), serving)
    elif quantized:
        yield Beside(
            "absorbed MLA",
            heads * (latent.nope + latent.value) * latent.kv_rank * _width(serving),
            len(latents),
            f"{len(latents)} layers × {heads} heads × ({latent.nope} + {latent.value}) × {latent.kv_rank} × "
            f"{_width(serving)} B",
            "vllm/model_executor/layers/attention/mla_attention.py process_weights_after_loading, 0.19.0",
            early=False,
        )


def _multiplied(facts: ModelFacts, latent: Latent, heads: int, layers: int, serving: Serving) -> Beside:
    hidden = facts.architecture.hidden if facts.architecture is not None else 0
    inputs = latent.q_rank or hidden
    product = 1 if facts.quantization == "fp8" else _width(serving)
    size = heads * (inputs * latent.rope * _width(serving) + (inputs + hidden) * latent.kv_rank * product)
    return Beside(
        "absorbed MLA",
        size,
        layers,
        f"{layers} layers × {heads} heads × ({inputs} × {latent.rope} × {_width(serving)} B + ({inputs} + {hidden}) × "
        f"{latent.kv_rank} × {product} B)",
        "vllm/attention/backends/mla/utils.py process_weights_after_loading: W_QR, W_Q_UK, W_UV_O, 0.7.3",
        early=False,
    )


def _sparse(layers: tuple[Layer, ...], serving: Serving) -> Iterator[Beside]:
    """Indices of the tokens that sparse attention picks, one buffer for all layers."""
    top = max((layer.latent.index_top_k for layer in layers if layer.latent), default=0)
    if top and any(layer.mixer is Mixer.SPARSE_LATENT for layer in layers):
        yield Beside(
            "indices of sparse attention",
            serving.max_num_batched_tokens * top * _INDEX,
            1,
            f"{serving.max_num_batched_tokens} tokens × {top} × 4 B",
            "vllm/model_executor/models/deepseek_v2.py topk_indices_buffer, 0.19.0",
        )


def _input_buffers(facts: ModelFacts, architecture: Architecture, serving: Serving, stage: Stage) -> Iterator[Beside]:
    tokens, width = serving.max_num_batched_tokens, _width(serving)
    if not stage.embeds or not architecture.towers:
        return
    for group in facts.tensors:
        if "embed_tokens_per_layer" in group.name and len(group.shape) == 2:
            yield Beside(
                "embeddings per layer",
                tokens * group.shape[1] * width,
                1,
                f"{tokens} tokens × {group.shape[1]} × {width} B",
                "vllm/model_executor/models/gemma3n_mm.py per_layer_embeddings, 0.19.0",
            )
    levels = _deepstack_levels(facts, architecture)
    if levels:
        yield Beside(
            "deepstack inputs",
            tokens * architecture.hidden * width,
            levels,
            f"{levels} levels × {tokens} tokens × {architecture.hidden} × {width} B",
            "vllm/model_executor/models/qwen3_vl.py deepstack_input_embeds, 0.19.0",
        )


def _deepstack_levels(facts: ModelFacts, architecture: Architecture) -> int:
    """By the tensors of its mergers; where those of the tower are not known, three, as all published ones have."""
    merged = max((len(group.layers) for group in facts.tensors if "deepstack_merger" in group.name), default=0)
    known = any(role(group.name).region is Region.TOWER for group in facts.tensors)
    return 3 if not merged and not known and architecture.towers and architecture.name in _DEEPSTACK else merged
