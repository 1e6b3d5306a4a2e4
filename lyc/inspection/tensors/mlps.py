"""The parameters of MLPs and mixtures of experts, in Hugging Face's names."""

from __future__ import annotations

from lyc.inspection.families import Family
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.attention import switched
from lyc.inspection.tensors.parts import Bare, Linear, Part
from lyc.records.architecture import Experts, Layer

_GATE = ("gate_proj", "up_proj", "down_proj")


def mlp(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    """Of one layer under the prefix of the layer."""
    hidden = text.need("hidden_size")
    parts: list[Part] = []
    if layer.intermediate:
        parts += dense(row, at + row.mlp, hidden, layer, bias=switched(text, row.mlp_bias))
    if layer.experts is not None:
        parts += _mixture(row, layer.experts, hidden, at + row.moe + ".", gated=layer.gated)
    return parts


def dense(row: Family, at: str, hidden: int, layer: Layer, *, bias: bool) -> list[Part]:
    names, width, gated = row.mlp_names, layer.intermediate, layer.gated
    if "gate_up" in row.fused:
        return [Linear(at + names[0], 2 * width, hidden, bias), Linear(at + names[-1], hidden, width, bias)]
    into = [Linear(at + name, width, hidden, bias) for name in (names[:-1] if gated else names[-2:-1])]
    return [*into, Linear(at + names[-1], hidden, width, bias)]


def _mixture(row: Family, experts: Experts, hidden: int, at: str, *, gated: bool) -> list[Part]:
    count, width = experts.count, experts.intermediate
    parts: list[Part] = [Bare(f"{at}{row.router}.weight", (count, hidden))]
    if row.router_bias:
        parts.append(Bare(f"{at}{row.router_bias}", (count,), row.router_bias_dtype))
    if row.packed:
        first, last = row.expert_names[0], row.expert_names[-1]
        turned = row.packed_transposed
        parts += [
            Linear(f"{at}experts.{first}", (2 if gated else 1) * width, hidden, row.expert_bias, count, True, turned),
            Linear(f"{at}experts.{last}", hidden, width, row.expert_bias, count, True, turned),
        ]
    else:
        names = row.expert_names if gated else row.expert_names[-2:]
        for name in names[:-1]:
            parts.append(Linear(f"{at}experts.{{expert}}.{name}", width, hidden, experts=count))
        parts.append(Linear(f"{at}experts.{{expert}}.{names[-1]}", hidden, width, experts=count))
    if experts.shared_intermediate:
        shared = experts.shared_intermediate
        names = _GATE if gated else _GATE[1:]
        parts += [Linear(f"{at}{row.shared}.{name}", shared, hidden) for name in names[:-1]]
        parts.append(Linear(f"{at}{row.shared}.{names[-1]}", hidden, shared))
        if row.shared_gate:
            parts.append(Bare(f"{at}{row.shared_gate}.weight", (1, hidden)))
    return parts
