"""The parameters of MLPs and mixtures of experts, in Hugging Face's names."""

from __future__ import annotations

from lyc.inspection.families import Family
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.attention import switched
from lyc.inspection.tensors.parts import Bare, Linear, Part
from lyc.records.architecture import Experts, Layer


def mlp(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    """Of one layer under the prefix of the layer."""
    hidden = text.need("hidden_size")
    parts: list[Part] = []
    if layer.intermediate:
        parts += dense(row, at + row.mlp, hidden, layer, bias=switched(text, row.mlp_bias))
    if layer.experts is not None:
        parts += _router(text, row, layer.experts, hidden, at)
        latent = text.whole("moe_latent_size")  # Nemotron 3: experts work in a narrower space
        if latent:
            parts += [Linear(at + row.moe + "fc1_latent_proj", latent, hidden)]
            parts += [Linear(at + row.moe + "fc2_latent_proj", hidden, latent)]
        parts += _experts(row, layer.experts, latent or hidden, at + row.moe, gated=layer.gated)
        parts += _shared(row, layer.experts, hidden, at, gated=layer.gated)
    return parts


def dense(row: Family, at: str, hidden: int, layer: Layer, *, bias: bool) -> list[Part]:
    """The MLP that every token passes; gate and up may be one matrix."""
    names, width = row.mlp_names, layer.intermediate
    if "gate_up" in row.fused:
        return [Linear(at + names[0], 2 * width, hidden, bias), Linear(at + names[-1], hidden, width, bias)]
    into = [
        Linear(at + name, width, hidden, bias, turned=row.turned)
        for name in (names[:-1] if layer.gated else names[-2:-1])
    ]
    return [*into, Linear(at + names[-1], hidden, width, bias, turned=row.turned)]


def _router(text: Settings, row: Family, experts: Experts, hidden: int, at: str) -> list[Part]:
    parts: list[Part] = [Bare(f"{at}{row.router or row.moe + 'gate'}.weight", (experts.count, hidden))]
    if row.router_bias and (not row.router_bias_key or text.flag(row.router_bias_key)):
        parts.append(Bare(at + row.router_bias, (experts.count,), row.router_bias_dtype))
    return parts


def _experts(row: Family, experts: Experts, hidden: int, at: str, *, gated: bool) -> list[Part]:
    count, width, bias = experts.count, experts.intermediate, row.expert_bias
    names = row.expert_names if gated or row.packed else row.expert_names[-2:]
    if row.packed_flat:  # DBRX: all experts below one another in one matrix
        return [Bare(f"{at}experts.{name}", (count * width, hidden)) for name in names]
    if row.packed:
        first, last = (
            at + (name[3:] if name.startswith("../") else f"experts.{name}") for name in (names[0], names[-1])
        )
        wide = (2 if gated else 1) * width
        return [
            Linear(first, wide, hidden, bias, count, packed=True, turned=row.packed_turned),
            Linear(last, hidden, width, bias, count, packed=True, turned=row.packed_turned),
        ]
    into = [Linear(f"{at}experts.{{expert}}.{name}", width, hidden, bias, count) for name in names[:-1]]
    return [*into, Linear(f"{at}experts.{{expert}}.{names[-1]}", hidden, width, bias, count)]


def _shared(row: Family, experts: Experts, hidden: int, at: str, *, gated: bool) -> list[Part]:
    """The expert that every token passes. Two names for a gated one: gate and up are stored as one."""
    if not (width := experts.shared_intermediate):
        return []
    names = row.shared_names
    prefix = at + (row.shared or row.moe + "shared_experts.")
    rows = 2 * width if len(names) == 2 else width
    into = names[:-1] if gated else names[-2:-1]
    parts: list[Part] = [Linear(prefix + name, rows, hidden) for name in into]
    parts.append(Linear(prefix + names[-1], hidden, width))
    return [*parts, Bare(f"{at}{row.shared_gate}.weight", (1, hidden))] if row.shared_gate else parts
