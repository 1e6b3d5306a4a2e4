"""The parameters of attention, in Hugging Face's names."""

from __future__ import annotations

from lyc.inspection.families import Family
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.parts import Bare, Linear, Part, norm
from lyc.records.architecture import Latent, Layer, Mixer


def switched(text: Settings, key: str) -> bool:
    """Whether a part is there, by `Family`'s notation: "yes", "" or the key that says."""
    return key == "yes" or (bool(key) and text.flag(key))


def attention(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    """Of one layer under the prefix `at` (`model.layers.{layer}.self_attn.`)."""
    if layer.latent is not None:
        return _latent(text, layer, layer.latent, at)
    hidden = text.need("hidden_size")
    queries, pairs = layer.heads * layer.head_size, layer.kv_heads * layer.head_size
    values, out = layer.kv_heads * layer.value_head_size, layer.heads * layer.value_head_size
    if row.gated_query:  # the projection also makes the gate of the output
        queries *= 2
    bias, out_bias = switched(text, row.qkv_bias), switched(text, row.out_bias)
    parts: list[Part] = []
    query, key, value, output = row.names
    if "qkv" in row.fused:
        parts.append(Linear(at + query, queries + pairs + values, hidden, bias, turned=row.turned))
    else:
        parts.append(Linear(at + query, queries, hidden, bias))
        if not layer.shares_kv or row.keeps_shared:
            parts.append(Linear(at + key, pairs, hidden, bias))
            if not (text.flag("attention_k_eq_v") and layer.mixer is Mixer.FULL):  # Gemma 4: keys serve as values
                parts.append(Linear(at + value, values, hidden, bias))
    parts.append(Linear(at + output, hidden, out, out_bias, turned=row.turned))
    return parts + _norms(text, row, layer, at)


def _norms(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    if not row.qk_norm or (row.qk_key and not text.flag(row.qk_key)):
        return []
    query, key = row.qk_names
    size = layer.head_size
    match row.qk_norm:
        case "wide":
            return [*norm(at + query, layer.heads * size), *norm(at + key, layer.kv_heads * size)]
        case "heads":
            return [Bare(f"{at}{query}.weight", (layer.heads, size)), Bare(f"{at}{key}.weight", (layer.kv_heads, size))]
        case _:
            keeps = not layer.shares_kv or row.keeps_shared
            return [*norm(at + query, size), *(norm(at + key, size) if keeps else ())]


def _latent(text: Settings, layer: Layer, latent: Latent, at: str) -> list[Part]:
    hidden, heads = text.need("hidden_size"), layer.heads
    width, bias = latent.nope + latent.rope, text.flag("attention_bias")
    parts: list[Part] = []
    if latent.q_rank:
        parts += [
            Linear(at + "q_a_proj", latent.q_rank, hidden, bias), *norm(at + "q_a_layernorm", latent.q_rank),
            Linear(at + "q_b_proj", heads * width, latent.q_rank),
        ]  # fmt: skip
    else:
        parts.append(Linear(at + "q_proj", heads * width, hidden))
    parts += [
        Linear(at + "kv_a_proj_with_mqa", latent.kv_rank + latent.rope, hidden, bias),
        *norm(at + "kv_a_layernorm", latent.kv_rank),
        Linear(at + "kv_b_proj", heads * (latent.nope + latent.value), latent.kv_rank),
        Linear(at + "o_proj", hidden, heads * latent.value, bias),
    ]
    if latent.index_heads:
        size = latent.index_head_size
        parts += [
            Linear(at + "indexer.wq_b", latent.index_heads * size, latent.q_rank or hidden),
            Linear(at + "indexer.wk", size, hidden), *norm(at + "indexer.k_norm", size, bias=True),
            Bare(at + "indexer.weights_proj.weight", (latent.index_heads, hidden)),
        ]  # fmt: skip
    return parts
