"""The MLP of each layer: dense, a mixture of experts, or both."""

from __future__ import annotations

from dataclasses import replace

from lyc.inspection.settings import Settings
from lyc.records.architecture import Experts, Layer, Mixer

_UNGATED = frozenset({
    "gpt2", "gptj", "gpt_neox", "gpt_neo", "opt", "bloom", "falcon", "phi", "starcoder2", "mpt", "gpt_bigcode",
    "nemotron", "nemotron_h", "persimmon", "stablelm_alpha", "arcee", "whisper", "codegen", "jais", "apertus",
    "refinedwebmodel", "jais2",
})  # fmt: skip
_FOURFOLD = frozenset(
    {"gpt_bigcode", "gpt2", "gptj", "gpt_neo", "bloom", "falcon", "mpt", "refinedwebmodel", "codegen"}
)


def with_mlps(text: Settings, words: tuple[str, ...] | None, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """`layers` with their MLPs. words: as `patterns.kinds` has them; some families count MLPs as layers."""
    gated = text.model_type not in _UNGATED
    experts, sparse = _experts(text), _sparse(text, len(layers))
    alone = words is not None and bool({"moe", "mlp"} & set(words))
    widths = _widths(text, len(layers), experts is not None and all(sparse))
    made: dict[tuple[Layer, int, bool], Layer] = {}
    done = []
    for at, layer in enumerate(layers):
        has = words is not None and words[at] in ("moe", "mlp") if alone else layer.mixer not in _bare(text)
        routed = has and experts is not None and (words is None or words[at] != "mlp") and (alone or sparse[at])
        width = widths[at] if has and (not routed or text.model_type in _BOTH) else 0
        key = (layer, width, routed)
        if key not in made:
            made[key] = replace(layer, intermediate=width, gated=gated, experts=experts if routed else None)
        done.append(made[key])
    return tuple(done)


_BOTH = frozenset({"gemma4_text", "arctic"})
"""A dense MLP stands beside the experts."""


def _bare(text: Settings) -> frozenset[Mixer]:
    """Mixers whose layers have no MLP."""
    if text.model_type in ("mamba", "mamba2", "falcon_mamba", "zamba", "zamba2"):
        return frozenset({Mixer.MAMBA1, Mixer.MAMBA2})
    return frozenset()


def _widths(text: Settings, count: int, all_sparse: bool) -> list[int]:
    """Of the dense MLP of each layer."""
    written = text.get("intermediate_size")
    if isinstance(written, list) and len(written) >= count and all(type(one) is int for one in written):
        return [int(str(one)) for one in written[:count]]
    if text.model_type == "llama4_text":
        return [text.need("intermediate_size_mlp")] * count
    if text.model_type in ("lfm2",) and text.flag("block_auto_adjust_ff_dim", default=True):
        return [_rounded(text)] * count
    if text.model_type == "granitemoehybrid" and not text.whole("num_experts"):
        return [text.need("shared_expert_intermediate_size")] * count
    width = text.whole("dense_intermediate_size") or text.whole("intermediate_size")
    if width is None and text.model_type in _FOURFOLD:
        width = 4 * text.need("hidden_size")
    if width is None and text.whole("mlp_ratio"):
        width = text.need("mlp_ratio") * text.need("hidden_size")
    if width is None and not all_sparse and text.model_type not in ("mamba", "mamba2", "falcon_mamba"):
        text.missing["intermediate_size"] = None
    if text.model_type == "qwen" and width:
        width //= 2  # Qwen 1 writes the width of gate and up together
    widths = [width or 0] * count
    if text.flag("use_double_wide_mlp"):  # Gemma 4: layers that read another's cache have twice the MLP
        shared = text.whole("num_kv_shared_layers") or 0
        widths[count - shared :] = [2 * one for one in widths[count - shared :]]
    return widths


def _rounded(text: Settings) -> int:
    """LFM2 keeps two thirds, scaled and rounded up."""
    width = int(2 * (text.whole("block_ff_dim") or text.need("intermediate_size")) / 3)
    scale, step = text.number("block_ffn_dim_multiplier"), text.whole("block_multiple_of") or 1
    return -(-int((scale or 1) * width) // step) * step


def _experts(text: Settings) -> Experts | None:
    own = text.below(text.section("ffn_config"), "") if text.section("ffn_config") else text  # DBRX
    count = own.whole("num_experts")
    if not count or text.get("enable_moe_block") is False:
        return None
    width = own.whole("moe_intermediate_size") or own.whole("intermediate_size")
    if width is None:
        text.missing["moe_intermediate_size"] = None
    shared = own.whole("shared_expert_intermediate_size")
    if shared is None:
        shared = (own.whole("n_shared_experts") or 0) * (width or 0)
    elif text.model_type == "nemotron_h":
        shared *= own.whole("n_shared_experts") or 1
    if text.model_type == "llama4_text":
        shared = width or 0
    per_token = own.whole("num_experts_per_tok")
    if per_token is None:
        text.missing["num_experts_per_tok"] = None
    return Experts(count, per_token or 0, width or 0, shared)


def _sparse(text: Settings, count: int) -> list[bool]:
    """Whether each layer's MLP is a mixture, by the family's rule; all of them where it has none."""
    if (row := text.listing("mlp_layer_types")) and len(row) >= count:
        return [one == "sparse" for one in row[:count]]
    if (row := text.listing("moe_layers")) is not None:
        return [at in row for at in range(count)]
    if enum := text.text("moe_layers_enum"):  # Step 3
        named = {int(one) for one in enum.split(",") if one.strip().isdigit()}
        return [at in named for at in range(count)]
    if (row := text.listing("moe_layer_freq")) and len(row) >= count:
        return [bool(one) for one in row[:count]]
    if (step := text.whole("interleave_moe_layer_step")) is not None:
        return [step > 0 and (at + 1) % step == 0 for at in range(count)]
    if period := text.whole("expert_layer_period"):  # Jamba
        offset = text.whole("expert_layer_offset") or 0
        return [at % period == offset for at in range(count)]
    if (every := text.whole("moe_layer_interval")) is not None:  # Ernie
        first = text.whole("moe_layer_start_index") or 0
        last = text.number("moe_layer_end_index")
        end = count - 1 if last is None or last < 0 else int(last)
        return [every > 0 and (at + 1) % every == 0 and first <= at <= end for at in range(count)]
    dense = text.whole("first_k_dense_replace") or text.whole("num_dense_layers") or 0
    step = text.whole("decoder_sparse_step") or text.whole("moe_layer_freq") or 1
    skip = text.listing("mlp_only_layers") or []
    shift = 1 if text.whole("decoder_sparse_step") else 0
    return [at >= dense and (at + shift) % step == 0 and at not in skip for at in range(count)]
