"""What lives in the widest layer while max_num_batched_tokens tokens go through the model."""

from __future__ import annotations

from collections.abc import Iterable

from lyc.planning.activation_moments import Moment, Tensor
from lyc.planning.activation_runner import V0
from lyc.records.architecture import Latent, Layer, Mixer
from lyc.records.card import Card
from lyc.records.serving import Serving
from lyc.units import MIB

STREAMS_EAGER = 3
"""Tensors of tokens × hidden in an eager layer: the normed input, the residual, the layer's own input."""
STREAMS_COMPILED = 6
"""The same in a compiled piece (attention's output, both residuals, buffers that Inductor holds for reuse). Fitted to
rows 22, 26, 27 and 87, which show 5.8 to 6.9; row 15 shows 3.
"""
_CACHE_L2: dict[int, int] = {75: 4, 80: 40, 86: 6, 89: 72, 90: 50, 100: 126, 103: 126, 120: 96}
"""MiB of the cards' L2: Inductor flushes it with a buffer of that size while it times its kernels."""


def forward(layers: Iterable[Layer], hidden: int, serving: Serving, card: Card, runner: str) -> Moment:
    """The fullest moment of the widest of `layers`, alike ones looked at once. Experts' workspaces come beside it."""
    tokens, item = serving.max_num_batched_tokens, 4 if serving.dtype == "float32" else 2
    eager = serving.enforce_eager or runner == V0
    streams = STREAMS_EAGER if eager else STREAMS_COMPILED
    base = [Tensor(f"{streams} streams {tokens}×{hidden}", streams * tokens * hidden * item)]
    if not eager:
        base.append(Tensor("L2 flush", _CACHE_L2.get(card.compute_capability or 0, 50) * MIB))
    widest = max((_widest(layer, serving, item) for layer in set(layers)), key=_total, default=())
    return Moment("forward", (*base, *widest))


def _total(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.size for tensor in tensors)


def _widest(layer: Layer, serving: Serving, item: int) -> tuple[Tensor, ...]:
    """The larger of what mixing and what the MLP takes."""
    return max(_mlp(layer, serving, item), _mixer(layer, serving, item), key=_total)


def _mlp(layer: Layer, serving: Serving, item: int) -> tuple[Tensor, ...]:
    """gate and up, and their product (or up and its activation): they live together before the way down."""
    tokens = serving.max_num_batched_tokens
    inner = layer.experts.shared_intermediate if layer.experts else layer.intermediate
    width = -(-inner // serving.tp)
    parts = 3 if layer.gated else 2
    return (Tensor(f"MLP {parts}×{tokens}×{width}", parts * tokens * width * item),)


def _mixer(layer: Layer, serving: Serving, item: int) -> tuple[Tensor, ...]:
    tokens, tp = serving.max_num_batched_tokens, serving.tp
    if layer.latent is not None:
        return _latent(layer, layer.latent, serving, item)
    if layer.state is not None:
        state = layer.state
        inner = state.heads * state.head_size
        width = 2 * inner + 2 * state.groups * state.state_size + state.heads
        return (Tensor(f"state mixer 2×{tokens}×{width}/{tp}", 2 * tokens * -(-width // tp) * item),)
    if layer.mixer in (Mixer.NONE, Mixer.UNKNOWN):
        return ()
    queries = -(-layer.heads // tp) * layer.head_size
    keys = max(-(-layer.kv_heads // tp), 1) * (layer.head_size + (layer.value_head_size or layer.head_size))
    return (Tensor(f"attention {tokens}×(2×{queries}+2×{keys})", tokens * 2 * (queries + keys) * item),)


def _latent(layer: Layer, latent: Latent, serving: Serving, item: int) -> tuple[Tensor, ...]:
    """MLA: queries, keys and values of all heads, and the context that a chunked prefill expands.

    `mla_attention.py` forward_impl allocates the latter while profiling: workspace × heads × (nope + value), where
    workspace = min(max(8 × max_model_len, 4 × max_num_seqs × block), 65536) tokens (131072 until 0.10), and at least
    one block for each sequence. The paths that read the compressed cache only (sparse attention) do not.
    """
    tokens, heads = serving.max_num_batched_tokens, -(-layer.heads // serving.tp)
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
