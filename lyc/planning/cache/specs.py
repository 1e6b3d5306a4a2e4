"""What each layer keeps in the KV cache: the page that one block takes in it, on one GPU."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lyc.planning.cache import blocks as cache_blocks
from lyc.planning.cache import dtype as cache_dtype
from lyc.planning.cache import states as cache_states
from lyc.planning.cache.blocks import LATENT
from lyc.planning.cache.rules import Rules
from lyc.records.architecture import Architecture, Latent, Layer, Mixer, State
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving

_SPARSE_FP8 = 656
"""Bytes a token in the layout of FlashMLA's sparse kernel (v1/kv_cache_interface.py MLAAttentionSpec, 0.11.0)."""
_PADDED_HEAD = 256
"""Elements of a head before MLA had a cache of its own (vllm/config.py get_head_size, 0.6.6)."""
_OWN_VALUES = (0, 20)
"""First version whose models cache values smaller than keys; before, they are padded (models/mimo_v2.py)."""
_PAIRED = frozenset({Mixer.FULL, Mixer.SLIDING, Mixer.CHUNKED, Mixer.UNKNOWN})


class Keeps(enum.StrEnum):
    """Which tokens a layer keeps: all of them, the last `reach`, those of its chunk, or a state."""

    ALL = "all"
    WINDOW = "window"
    CHUNK = "chunk"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Spec:
    """One layer's part of a block. page: bytes. tokens: of the block. text: how `page` comes about."""

    keeps: Keeps
    page: int
    tokens: int
    reach: int = 0
    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Specs:
    """by_spec: the numbers of the layers that have each part, in the order in which vLLM meets them. band: relative."""

    by_spec: Mapping[Spec, Sequence[int]]
    band: float = 0.0


@dataclass(frozen=True, slots=True)
class _Model:
    """What every step needs: the model, how it is served, the version's rules, and the cache's type of element."""

    architecture: Architecture
    serving: Serving
    rules: Rules
    dtype: str


def specs(facts: ModelFacts, architecture: Architecture, serving: Serving, rules: Rules) -> Specs:
    """Of all layers of all stages, those of a draft last and on the last stage."""
    model = _Model(architecture, serving, rules, cache_dtype.resolve(facts, serving, rules))
    drafted, doubt = _drafted(architecture, serving.draft)
    alike = _alike((*architecture.layers, *drafted))
    tokens = [_token(layer, model) for layer, _ in alike]
    states = [_state(one, one.state, model) if one.state is not None and rules.states else None for one, _ in alike]
    token = max((size for size, _ in tokens), default=0)
    page = max((state[0] for state in states if state), default=0)
    block = cache_blocks.fitted(architecture.layers, serving, page=page, token=token, prefixes=rules.hybrid_prefixes)
    by_spec: dict[Spec, list[int]] = {}
    last = len(architecture.layers) - 1
    for (layer, numbers), one, state in zip(alike, tokens, states, strict=True):
        for spec in (*_keys(layer, one, block, model), *_recurrent(state, block * token)):
            by_spec.setdefault(spec, []).extend(min(number, last) for number in numbers)
    for numbers in by_spec.values():
        numbers.sort()
    return Specs(by_spec, max(doubt, _doubt(model)))


def _alike(layers: Sequence[Layer]) -> list[tuple[Layer, list[int]]]:
    """Layers whose cache is alike, with their numbers. Most are one object, so few have to be compared."""
    found: dict[tuple[object, ...], tuple[Layer, list[int]]] = {}
    seen: dict[int, list[int]] = {}
    for number, layer in enumerate(layers):
        numbers = seen.get(id(layer))
        if numbers is None:
            key = (
                layer.mixer, layer.kv_heads, layer.head_size, layer.value_head_size, layer.window, layer.shares_kv,
                layer.latent, layer.state,
            )  # fmt: skip
            numbers = seen[id(layer)] = found.setdefault(key, (layer, []))[1]
        numbers.append(number)
    return list(found.values())


def _keys(layer: Layer, token: tuple[int, str], block: int, model: _Model) -> Iterator[Spec]:
    """Keys and values, and the index of sparse attention."""
    size, text = token
    if size:
        keeps, reach = _reach(layer, model)
        yield Spec(keeps, block * size, block, reach, f"{text} × {block} tokens")
        if index := _index_bytes(layer):
            yield Spec(Keeps.ALL, block * index, block, text=f"{index} B of index × {block} tokens")


def _recurrent(state: tuple[int, str] | None, room: int) -> Iterator[Spec]:
    """A state, padded to the page of an attention layer, which has `room`."""
    if state is not None:
        size, text = state
        yield Spec(Keeps.STATE, max(size, room), 0, text=text if size >= room else f"{room} B (padded from {text})")


def _drafted(architecture: Architecture, draft: Draft | None) -> tuple[Sequence[Layer], float]:
    """Layers that speculation adds, and how far their cache may be off."""
    if draft is None or draft.method in ("ngram", "suffix"):
        return (), 0.0
    if draft.facts is not None and draft.facts.architecture is not None:
        return draft.facts.architecture.layers, 0.0
    return architecture.mtp, 0.0 if architecture.mtp else 0.1


def _state(layer: Layer, state: State, model: _Model) -> tuple[int, str]:
    mixer = layer.mixer if layer.mixer in cache_states.MIXERS else Mixer.MAMBA2
    return cache_states.state_bytes(mixer, state, model.architecture.name, model.serving)


def _token(layer: Layer, model: _Model) -> tuple[int, str]:
    """Bytes of one token in one layer, and how they come about; 0 where the layer keeps no keys."""
    if layer.shares_kv:
        return 0, ""
    if layer.latent is not None and layer.mixer in LATENT:
        return _latent_token(layer, layer.latent, model)
    if layer.mixer not in _PAIRED or not layer.kv_heads or not layer.head_size:
        return 0, ""
    heads = max(layer.kv_heads // model.serving.tp, 1)
    key = value = cache_dtype.vector(model.dtype, layer.head_size)
    if layer.value_head_size and model.serving.version >= _OWN_VALUES:
        value = cache_dtype.vector(model.dtype, layer.value_head_size)
    if key == value:
        return 2 * heads * key, f"2 × {_heads(heads)} × {_elements(model.dtype, layer.head_size)}"
    return heads * (key + value), f"{_heads(heads)} × ({key} + {value} B)"


def _latent_token(layer: Layer, latent: Latent, model: _Model) -> tuple[int, str]:
    if not model.rules.latent:
        heads = max(layer.kv_heads // model.serving.tp, 1)
        size = 2 * heads * cache_dtype.vector(model.dtype, _PADDED_HEAD)
        return size, f"2 × {_heads(heads)} × {_elements(model.dtype, _PADDED_HEAD)} (padded)"
    if _packed(layer, model):
        return _SPARSE_FP8, f"{_SPARSE_FP8} B (fp8_ds_mla)"
    width = latent.kv_rank + latent.rope
    size = cache_dtype.vector(model.dtype, width)
    if model.serving.version < (0, 8):
        size = -(-size // 256) * 256
        return size, f"{size} B ({width} elements, aligned to 256 B)"
    return size, _elements(model.dtype, width)


def _packed(layer: Layer, model: _Model) -> bool:
    """Whether sparse attention stores its own format.

    vllm/model_executor/models/config.py DeepseekV32ForCausalLM: always in 0.11.0, for fp8 from 0.11.1 on;
    mla_attention.py, 0.18.0: for fp8 with the kernel of Hopper, and on consumer Blackwell for `auto` too (0.29).
    """
    serving = model.serving
    if layer.mixer is not Mixer.SPARSE_LATENT or serving.on_cpu:
        return False
    asked, family = serving.kv_cache_dtype, (serving.capability or 90) // 10
    if asked == "auto" and serving.version < (0, 11, 1):
        return True
    if family == 12 and serving.version >= (0, 29):
        return asked in ("auto", "fp8", "fp8_e4m3", "fp8_ds_mla")
    return asked == "fp8_ds_mla" or (model.dtype.startswith("fp8") and (family != 10 or serving.version < (0, 17)))


def _index_bytes(layer: Layer) -> int:
    """Bytes a token that sparse attention keeps to find what matters: fp8, with a float32 scale for 128.

    vllm/model_executor/models/deepseek_v2.py DeepseekV32IndexerCache, 0.11.0.
    """
    if layer.mixer is not Mixer.SPARSE_LATENT or layer.latent is None or layer.shares_kv:
        return 0
    size = layer.latent.index_head_size
    return size + size // 128 * 4


def _reach(layer: Layer, model: _Model) -> tuple[Keeps, int]:
    """Which tokens the version knows this layer to need, and how many."""
    if layer.mixer is Mixer.SLIDING and layer.window and model.serving.version >= (0, 8):
        return Keeps.WINDOW, layer.window
    if layer.mixer is Mixer.CHUNKED and layer.window and model.rules.chunks:
        return Keeps.CHUNK, layer.window
    return Keeps.ALL, 0


def _doubt(model: _Model) -> float:
    """How far the size of a block may be off, relative: what could not be read or validated."""
    mixers = {layer.mixer for layer in model.architecture.layers}
    if Mixer.UNKNOWN in mixers or not cache_dtype.known(model.dtype):
        return 0.5
    if not model.architecture.known:
        return 0.2
    if model.serving.on_cpu and any(layer.state for layer in model.architecture.layers):
        return 0.5
    unsure = model.dtype.startswith("fp8") and model.serving.capability is None
    return 0.1 if Mixer.SPARSE_LATENT in mixers and unsure else 0.0


def _heads(count: int) -> str:
    return f"{count} KV head{'s' if count > 1 else ''}"


def _elements(dtype: str, size: int) -> str:
    width = cache_dtype.BYTES.get(dtype)
    plain = width is not None and cache_dtype.vector(dtype, size) == size * width
    return f"{size} × {width} B" if plain else f"{cache_dtype.vector(dtype, size)} B ({dtype})"
