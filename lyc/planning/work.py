"""How much arithmetic one token of a model is, by config.json alone. Operations: a multiply-add counts two."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lyc.records.architecture import Architecture, Layer, Mixer

_KEYED = frozenset({Mixer.FULL, Mixer.SLIDING, Mixer.CHUNKED})
_LATENT = frozenset({Mixer.LATENT, Mixer.SPARSE_LATENT})
_RECURRENT = frozenset({
    Mixer.MAMBA1, Mixer.MAMBA2, Mixer.GATED_DELTA, Mixer.KIMI_DELTA, Mixer.LIGHTNING, Mixer.SHORT_CONV,
})  # fmt: skip
_STATE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Attention:
    """Alike attention layers. score: operations of a token with one key before it. reach: keys at most, None = all."""

    layers: int
    score: int
    reach: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Of one token over all layers.

    linear: operations of the layers' matrices; head: of the output matrix, which a prompt passes once. attention: what
    grows with the text. state: bytes of recurrent state of one request. layers: all; moe: those with experts; latent:
    those with MLA.
    """

    linear: int
    head: int
    attention: tuple[Attention, ...]
    state: int
    layers: int
    moe: int
    latent: int
    hidden: int

    def scores(self, keys: int) -> int:
        """Operations of attention for one token with `keys` before it."""
        return sum(one.layers * one.score * min(keys, one.reach or keys) for one in self.attention)


def work(architecture: Architecture) -> Work:
    """Layers that are one object or equal are counted together, so this takes microseconds a layer."""
    attention: list[Attention] = []
    linear = state = moe = latent = 0
    for layer, count in Counter(architecture.layers).items():
        linear += count * (_mixing(layer, architecture.hidden) + _mlp(layer, architecture.hidden))
        state += count * _state(layer)
        moe += count if layer.experts else 0
        latent += count if layer.mixer in _LATENT else 0
        if score := _score(layer):
            reach = layer.latent.index_top_k if layer.latent and layer.latent.index_top_k else layer.window
            attention.append(Attention(count, score, reach))
    return Work(
        linear=linear,
        head=2 * architecture.hidden * architecture.vocab,
        attention=tuple(attention),
        state=state,
        layers=len(architecture.layers),
        moe=moe,
        latent=latent,
        hidden=architecture.hidden,
    )


def _mixing(layer: Layer, hidden: int) -> int:
    """Projections into attention or a recurrence, and back."""
    if layer.mixer in _KEYED:
        value = layer.value_head_size or layer.head_size
        widths = layer.heads * (layer.head_size + value) + (0 if layer.shares_kv else layer.kv_heads) * (
            layer.head_size + value
        )
        return 2 * hidden * widths
    if layer.mixer in _LATENT and layer.latent:
        latent, heads = layer.latent, layer.heads
        query = latent.nope + latent.rope
        into = hidden * (latent.kv_rank + latent.rope) + heads * latent.kv_rank * (latent.nope + latent.value)
        asked = hidden * latent.q_rank + latent.q_rank * heads * query if latent.q_rank else hidden * heads * query
        index = latent.index_heads * latent.index_head_size * (latent.q_rank or hidden)
        return 2 * (into + asked + index + heads * latent.value * hidden)
    if layer.mixer in _RECURRENT and layer.state:
        inner, keys = layer.state.heads * layer.state.head_size, layer.state.groups * layer.state.state_size
        # Two of the inner width in (value and gate), keys and queries, and one out.
        return 2 * hidden * (3 * inner + 2 * keys) + 6 * inner * layer.state.state_size
    return 0


def _mlp(layer: Layer, hidden: int) -> int:
    matrices = 3 if layer.gated else 2
    width = layer.intermediate
    routed = 0
    if layer.experts:
        width += layer.experts.per_token * layer.experts.intermediate + layer.experts.shared_intermediate
        routed = 2 * hidden * layer.experts.count
    return 2 * matrices * hidden * width + routed


def _score(layer: Layer) -> int:
    if layer.mixer in _KEYED:
        return 2 * layer.heads * (layer.head_size + (layer.value_head_size or layer.head_size))
    if layer.mixer in _LATENT and layer.latent:  # absorbed: keys and values are the latent itself
        return 2 * layer.heads * (2 * layer.latent.kv_rank + layer.latent.rope)
    return 0


def _state(layer: Layer) -> int:
    if layer.mixer not in _RECURRENT or not layer.state:
        return 0
    state = layer.state
    return state.heads * state.head_size * max(state.state_size, 1) * _STATE_BYTES.get(state.dtype or "bfloat16", 2)
