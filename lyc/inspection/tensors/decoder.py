"""All parameters of the language model, by layers that are alike."""

from __future__ import annotations

from collections.abc import Iterator

from lyc.inspection.families import Family
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.attention import attention, switched
from lyc.inspection.tensors.mlps import mlp
from lyc.inspection.tensors.parts import Bare, Linear, Part, norm
from lyc.inspection.tensors.shapes import of_layer as of
from lyc.inspection.tensors.shapes import written
from lyc.inspection.tensors.states import state
from lyc.records.architecture import Architecture, Layer, Mixer

Placed = tuple[Part, tuple[int, ...]]
"""A part and the numbers of the layers that have it; none = it stands alone."""


def decoder(text: Settings, row: Family, found: Architecture, prefix: str, head: str) -> Iterator[Placed]:
    """prefix: of the model (`model.`); head: the name of the output table (`lm_head`)."""
    count = len(found.layers)
    hidden = found.hidden
    yield Bare(_joined(prefix, row.embed) + ".weight", (found.vocab, hidden)), ()
    for layer, numbers in alike(found.layers).items():
        at = f"{prefix}{row.layers}.{{layer}}."
        value, holds = of(text, layer, count)
        for part in (*of_layer(text, row, layer, at), *written(row.extras, at, value, holds)):
            yield part, numbers
    for part in written(row.ends, prefix, *of(text, Layer(Mixer.NONE), count)):
        yield part, ()
    for part in norm(prefix + row.final_norm, hidden, bias=row.norm_bias) if row.final_norm else ():
        yield part, ()
    if not found.tied:
        yield Linear(head, found.vocab, hidden), ()
        if switched(text, row.head_bias):
            yield Bare(head + ".bias", (found.vocab,)), ()
    yield from _mtp(text, row, found, prefix)


def _joined(prefix: str, name: str) -> str:
    """`../` leads out of the last part of the prefix."""
    if name.startswith("../"):
        return prefix.rstrip(".").rpartition(".")[0] + "." + name[3:]
    return prefix + name


def alike(layers: tuple[Layer, ...]) -> dict[Layer, tuple[int, ...]]:
    """Layer → the numbers that it stands at."""
    numbers: dict[Layer, list[int]] = {}
    for at, layer in enumerate(layers):
        numbers.setdefault(layer, []).append(at)
    return {layer: tuple(found) for layer, found in numbers.items()}


def of_layer(text: Settings, row: Family, layer: Layer, at: str) -> list[Part]:
    """Everything in one layer whose names begin with `at`."""
    hidden = text.need("hidden_size")
    parts: list[Part] = []
    for name in row.norms:
        parts += norm(at + name, hidden, bias=row.norm_bias)
    if layer.heads and layer.mixer is not Mixer.NONE:
        parts += attention(text, row, layer, at + row.attention)
    parts += state(text, row, layer, at)
    parts += mlp(text, row, layer, at)
    return parts


def _mtp(text: Settings, row: Family, found: Architecture, prefix: str) -> Iterator[Placed]:
    """Layers for multi-token prediction: numbered on after the others, or under a prefix of their own (`mtp.`)."""
    if not found.mtp:
        return
    hidden = found.hidden
    if row.mtp_style == "mtp":
        for part in of_layer(text, row, found.mtp[0], "mtp.layers.{layer}."):
            yield part, tuple(range(len(found.mtp)))
        for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
            yield Bare(f"mtp.{name}.weight", (hidden,)), ()
        yield Linear("mtp.fc", hidden, 2 * hidden), ()
        return
    numbers = tuple(range(len(found.layers), len(found.layers) + len(found.mtp)))
    at = f"{prefix}{row.layers}.{{layer}}."
    for part in of_layer(text, row, found.mtp[0], at):
        yield part, numbers
    for name in ("enorm", "hnorm", "shared_head.norm"):
        yield Bare(f"{at}{name}.weight", (hidden,)), numbers
    yield Bare(at + "eh_proj.weight", (hidden, 2 * hidden)), numbers
    for name in ("embed_tokens", "shared_head.head"):
        yield Bare(f"{at}{name}.weight", (found.vocab, hidden)), numbers
