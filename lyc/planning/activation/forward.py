"""What lives in the widest layer while max_num_batched_tokens tokens go through the model."""

from __future__ import annotations

from collections.abc import Iterable

from lyc.planning.activation.moments import Moment, Tensor, total
from lyc.planning.activation.runner import V0
from lyc.records.architecture import Architecture, Latent, Layer, Mixer
from lyc.records.card import Card
from lyc.records.serving import Serving
from lyc.units import MIB

STREAMS = 3
"""Tensors of tokens × hidden beside the MLP. Compiled: attention's output and the residual, which the caller holds, and
the projection of the former (Inductor's code for one piece frees the others). Eager: normed input, residual, and the
layer's own input.
"""
_ONE_STREAM = (
    "Granite", "Cohere", "Olmo", "OLMo", "Phi3Small", "PhiFor", "GPTNeoX", "GPT2", "Falcon", "Starcoder2", "Bloom",
    "OPT", "MPT", "StableLm", "GPTBigCode", "GPTJ", "Nemotron", "Bert", "Roberta",
)  # fmt: skip
"""Classes whose layers pass on one tensor. The others pass on a pair, output and residual; with them the queries, keys
and values are still there in the MLP. Fitted to starts 26, 27 and 87 beside 15: 2.8, 2.8, 2.9 and 0 × the hidden size.
"""
_CACHE_L2: dict[int, int] = {75: 4, 80: 40, 86: 6, 89: 72, 90: 50, 100: 126, 103: 126, 120: 96}
"""MiB of the cards' L2: Inductor flushes it with a buffer of that size while it times its kernels."""


def forward(
    architecture: Architecture, layers: Iterable[Layer], serving: Serving, card: Card, *, runner: str, int8: bool
) -> Moment:
    """The fullest moment of the widest of `layers`, alike ones looked at once. Experts' workspaces come beside it.

    int8: activations are quantized to 8 bit in tensors of their own (W8A8), which a compiled piece holds beside.
    """
    tokens, item, hidden = serving.max_num_batched_tokens, _item(serving), architecture.hidden
    eager = serving.enforce_eager or runner == V0
    base = [Tensor(f"streams {STREAMS}×{tokens}×{hidden}", STREAMS * tokens * hidden * item)]
    if not eager:
        base.append(Tensor("L2 flush", _CACHE_L2.get(card.compute_capability or 0, 50) * MIB))
    pair = not eager and not architecture.name.startswith(_ONE_STREAM)
    kinds = set(layers)
    mlp = max((_mlp(layer, serving, pair=pair, int8=int8 and not eager) for layer in kinds), key=total, default=())
    mixer = max((_mixer(layer, serving) for layer in kinds), key=total, default=())
    return Moment("forward", (*base, *max(mlp, mixer, key=total)))


def _item(serving: Serving) -> int:
    return 4 if serving.dtype == "float32" else 2


def _mlp(layer: Layer, serving: Serving, *, pair: bool, int8: bool) -> tuple[Tensor, ...]:
    """gate and up, and their product (or up and its activation): they live together before the way down."""
    tokens, item = serving.max_num_batched_tokens, _item(serving)
    inner = layer.experts.shared_intermediate if layer.experts else layer.intermediate
    width = -(-inner // serving.tp)
    parts = 3 if layer.gated else 2
    found = [Tensor(f"MLP {parts}×{tokens}×{width}", parts * tokens * width * item)]
    if int8:
        found.append(Tensor(f"in int8 {tokens}×{width}", tokens * width))
    if pair and layer.latent is None and layer.heads:
        queries, keys, values = _heads(layer, serving.tp)
        held = 2 * queries + 2 * keys + values  # projected in one tensor, then turned by position
        found.append(Tensor(f"queries, keys, values {tokens}×{held}", tokens * held * item))
    return tuple(found)


def _heads(layer: Layer, tp: int) -> tuple[int, int, int]:
    """Widths of queries, keys and values on one GPU."""
    own = max(-(-layer.kv_heads // tp), 1)
    return (
        -(-layer.heads // tp) * layer.head_size,
        own * layer.head_size,
        own * (layer.value_head_size or layer.head_size),
    )


def _mixer(layer: Layer, serving: Serving) -> tuple[Tensor, ...]:
    tokens, tp, item = serving.max_num_batched_tokens, serving.tp, _item(serving)
    if layer.latent is not None:
        return _latent(layer, layer.latent, serving)
    if layer.state is not None:
        state = layer.state
        inner = state.heads * state.head_size
        width = 2 * inner + 2 * state.groups * state.state_size + state.heads
        return (Tensor(f"state mixer 2×{tokens}×{width}/{tp}", 2 * tokens * -(-width // tp) * item),)
    if layer.mixer in (Mixer.NONE, Mixer.UNKNOWN):
        return ()
    queries, keys, values = _heads(layer, tp)
    width = 2 * queries + 2 * keys + values
    return (Tensor(f"attention {tokens}×{width}", tokens * width * item),)


def _latent(layer: Layer, latent: Latent, serving: Serving) -> tuple[Tensor, ...]:
    """MLA: queries, keys and values of all heads, and the context that a chunked prefill expands.

    `mla_attention.py` forward_impl allocates the latter while profiling: workspace × heads × (nope + value), where
    workspace = min(max(8 × max_model_len, 4 × max_num_seqs × block), 65536) tokens (131072 until 0.10), and at least
    one block for each sequence. The paths that read the compressed cache only (sparse attention) do not.
    """
    tokens, heads, item = serving.max_num_batched_tokens, -(-layer.heads // serving.tp), _item(serving)
    block = serving.block_size or 64
    most = 65536 if serving.version >= (0, 11) else 131072
    room = min(max(8 * serving.max_model_len, 4 * serving.max_num_seqs * block), most)
    room = max(room, serving.max_num_seqs * block)
    per_head = 2 * (latent.nope + latent.rope) + latent.value
    found = (Tensor(f"MLA {tokens}×{heads}×{per_head}", tokens * heads * per_head * item),)
    if layer.mixer is Mixer.SPARSE_LATENT:
        return found
    expanded = room * heads * (latent.nope + latent.value) * item
    return (*found, Tensor(f"MLA context {room}×{heads}×{latent.nope + latent.value}", expanded))
