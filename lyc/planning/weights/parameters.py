"""The checkpoint's tensors as vLLM's own parameters on one GPU: dropped, merged, shared among ranks, in run-time bytes.

`runs` gives them in the order in which vLLM allocates them, equal layers together, so that `allocator.allocated` can
say what torch counts. Shapes are in elements, sizes in bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, prod

from lyc.planning.weights.formats import EXPERTS_ONLY, RUNTIME, WHILE_LOADING, axes, element, kept
from lyc.planning.weights.mxfp4 import padded
from lyc.planning.weights.roles import HEADS, Kind, Region, Role, Rule, role
from lyc.records.architecture import Architecture, Layer, Mixer, TensorGroup
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage

_VOCABULARY_STEP = 64  # DEFAULT_VOCAB_PADDING_SIZE of vocab_parallel_embedding.py
_NO_LAYER = Layer(Mixer.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor on one rank. size: bytes. guessed: its name is not known, so how it is shared was guessed."""

    name: str
    kind: Kind
    size: int
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Layers with equal parameters, in order. layers: how many follow one another. region: text, tower or mtp."""

    parameters: tuple[Parameter, ...]
    layers: int
    region: Region


def runs(facts: ModelFacts, serving: Serving, stage: Stage, card: Card | None = None) -> tuple[Run, ...]:
    """Parameters that one rank of `stage` holds: embedding, layers, head, then towers; MTP layers last.

    facts.architecture must be there. MTP runs are given whether or not they are loaded: the caller decides by
    `serving.draft`. Towers stand on every stage, as `SupportsMultiModal` models build them without asking for the rank.
    """
    architecture = facts.architecture
    if architecture is None:
        return ()
    rank = _Rank(facts, architecture, serving, card)
    parts = _sorted(facts.tensors, architecture, stage)
    count = len(architecture.layers)
    found = [Run(rank.merged(parts.before, _NO_LAYER), 1, Region.TEXT)]
    found += rank.stack(parts.layered, range(stage.first, stage.last), Region.TEXT)
    found.append(Run(rank.merged(parts.after, _NO_LAYER), 1, Region.TEXT))
    found.append(Run(rank.merged([group for group in parts.towers if not group.layers], _NO_LAYER), 1, Region.TOWER))
    found += rank.stack([group for group in parts.towers if group.layers], None, Region.TOWER)
    if architecture.mtp and stage.samples:
        found.append(Run(rank.merged([group for group in parts.mtp if not group.layers], _NO_LAYER), 1, Region.MTP))
        found += rank.stack([group for group in parts.mtp if group.layers], None, Region.MTP)
        found += rank.stack(parts.layered, range(count, count + len(architecture.mtp)), Region.MTP)
    return tuple(run for run in found if run.parameters)


@dataclass(slots=True)
class _Parts:
    """Groups by where they stand on a stage: before the layers, in them, after them; towers; MTP."""

    before: list[TensorGroup] = field(default_factory=list)
    layered: list[TensorGroup] = field(default_factory=list)
    after: list[TensorGroup] = field(default_factory=list)
    towers: list[TensorGroup] = field(default_factory=list)
    mtp: list[TensorGroup] = field(default_factory=list)


def _sorted(groups: Iterable[TensorGroup], architecture: Architecture, stage: Stage) -> _Parts:
    """Tied: one table is embedding and head, so a last stage that is not the first has a table of its own."""
    parts = _Parts()
    for group in groups:
        place = role(group.name)
        if place.region is Region.DROPPED:
            continue
        if place.region is Region.TOWER:
            parts.towers.append(group)
        elif place.region is Region.MTP:
            parts.mtp.append(group)
        elif "{layer}" in group.name and group.layers:
            parts.layered.append(group)
        elif place.module in HEADS:
            if stage.samples and not architecture.tied:
                parts.after.append(group)
        elif place.kind is Kind.EMBEDDING:
            if stage.embeds or (stage.samples and architecture.tied):
                parts.before.append(group)
        elif "norm" in place.module or place.module.startswith(".ln_f"):
            if stage.samples:
                parts.after.append(group)
        else:
            parts.before.append(group)
    return parts


class _Rank:
    """One rank's view: the split, the dtype, the quantization in force."""

    def __init__(self, facts: ModelFacts, architecture: Architecture, serving: Serving, card: Card | None) -> None:
        self._facts = facts
        self._architecture = architecture
        self._serving = serving
        self._card = card
        self._tp = serving.tp
        asked = serving.quantization if facts.quantization is None else None
        self._online = WHILE_LOADING.get(asked or "")
        self._experts_only = asked in EXPERTS_ONLY
        self._ordered = facts.quantization_detail.get("desc_act") is True
        self._amd = card is not None and card.vendor.lower() == "amd"
        self._hopper = card is None or 90 <= (card.compute_capability or 0) < 100
        self._marlin_fp8 = card is not None and (card.compute_capability or 90) < 89

    def stack(self, groups: Iterable[TensorGroup], wanted: range | None, region: Region) -> list[Run]:
        """Runs of equal layers, in order. wanted: layer numbers to keep, None = all."""
        alike: dict[tuple[int, ...], list[TensorGroup]] = {}
        for group in groups:
            alike.setdefault(group.layers, []).append(group)
        members: dict[int, tuple[int, ...]] = {}
        sets = list(alike.values())
        for index, numbers in enumerate(alike):
            for number in numbers:
                if wanted is None or number in wanted:
                    members[number] = (*members.get(number, ()), index)
        known: dict[tuple[object, ...], tuple[Parameter, ...]] = {}
        found: list[Run] = []
        for number in sorted(members):
            layer = self._layer(number, region)
            key = (members[number], layer.heads, layer.kv_heads)
            if key not in known:
                known[key] = self.merged([group for index in members[number] for group in sets[index]], layer)
            if found and found[-1].parameters is known[key]:
                found[-1] = Run(known[key], found[-1].layers + 1, region)
            else:
                found.append(Run(known[key], 1, region))
        return found

    def _layer(self, number: int, region: Region) -> Layer:
        if region is Region.MTP and self._architecture.mtp:
            return self._architecture.mtp[0]
        layers = self._architecture.layers
        return layers[number] if region is Region.TEXT and number < len(layers) else _NO_LAYER

    def merged(self, groups: Iterable[TensorGroup], layer: Layer) -> tuple[Parameter, ...]:
        """The parameters of one layer: tensors with the same module and leaf become one, in order of allocation."""
        sizes: dict[tuple[int, str, str], float] = {}
        kinds: dict[tuple[int, str, str], tuple[Kind, bool]] = {}
        for group in groups:
            place = role(group.name)
            if not self._kept(place):
                continue
            key = (place.order, place.module, place.leaf)
            sizes[key] = sizes.get(key, 0.0) + self._bytes(group, place, layer)
            kinds[key] = (place.kind, place.rule is Rule.GUESS and len(group.shape) > 1)
        return tuple(
            Parameter(f"{key[1]}.{key[2]}", kinds[key][0], ceil(size), kinds[key][1])
            for key, size in sorted(sizes.items())
        )

    def _kept(self, place: Role) -> bool:
        expert = place.kind is Kind.EXPERTS
        method = self._facts.quantization
        return kept(place.leaf, method=method, ordered=self._ordered, expert=expert, hopper=self._hopper)

    def _bytes(self, group: TensorGroup, place: Role, layer: Layer) -> float:
        shape = group.shape
        count = max(group.experts, 1)
        if place.packed and shape:
            count, shape = shape[0], shape[1:]
        if place.kind is Kind.EXPERTS and self._facts.quantization in ("mxfp4", "gpt_oss_mxfp4"):
            wider = padded(shape, place, self._architecture.hidden, self._serving, self._card)
            if wider is not None:
                return wider * count
        local = self._share(shape, place, layer)
        if self._online is not None and self._quantized(group, place):
            each = self._online
        elif place.leaf == "weight_scale_inv" and self._marlin_fp8:
            each = 2.0 * 128  # Marlin keeps a 16-bit scale for each 128 inputs and one output
        else:
            each = element(group.dtype, place.leaf, place.module, self._serving)
        return (local * each + self._padding(group, place, shape, local)) * count

    def _padding(self, group: TensorGroup, place: Role, shape: tuple[int, ...], local: float) -> float:
        """On AMD each row of 16-bit experts and of 8-bit linear layers gets 256 bytes more where it ends at 512
        (`_maybe_pad_weight`, `_maybe_pad_fp8_weight`: VLLM_ROCM_MOE_PADDING and _FP8_PADDING are on).
        """
        if not self._amd or not place.linear or len(shape) != 2 or place.region is Region.TOWER:
            return 0.0
        width = 1 if group.dtype.startswith("F8") or self._online == 1 else RUNTIME.get(self._serving.dtype, 2)
        padded_form = width == 1 if place.kind is not Kind.EXPERTS else width == 2
        hidden = self._architecture.hidden
        inputs = shape[1] if not place.packed else hidden if place.rule is Rule.COLUMN else prod(shape) // hidden
        row = (-(-inputs // self._tp) if place.rule is Rule.ROW else inputs) * width
        return local / (row / width) * 256 if padded_form and row % 512 == 0 else 0.0

    def _quantized(self, group: TensorGroup, place: Role) -> bool:
        if not place.linear or len(group.shape) < 2 or place.rule is Rule.GUESS:
            return False
        return not (self._experts_only and place.kind is not Kind.EXPERTS)

    def _share(self, shape: tuple[int, ...], place: Role, layer: Layer) -> float:
        """Elements of the tensor that this rank holds."""
        tp, whole = self._tp, prod(shape)
        if place.rule is Rule.VOCABULARY:
            if len(shape) < 2:
                return whole
            return vocabulary_rows(shape[0]) * prod(shape[1:]) / tp
        if tp == 1 or place.rule is Rule.WHOLE or whole == 1:
            return whole
        flat = place.leaf == "weight.absmax" or (place.leaf == "weight" and len(shape) == 2 and shape[1] == 1)
        if (place.packed and len(shape) > 1) or flat:
            return whole / tp  # which axis is divided depends on the family, or (bitsandbytes) is not to be seen
        outputs, inputs = axes(place.leaf) if len(shape) > 1 else (0, None)
        axis = inputs if place.rule is Rule.ROW else outputs
        if axis is None or shape[axis] == 1:
            return whole
        part, of = self._part(place, layer, shape[axis])
        return whole // shape[axis] * -(-shape[axis] * part // of)

    def _part(self, place: Role, layer: Layer, extent: int) -> tuple[int, int]:
        """Which part (a, b: a/b) of the divided axis a rank holds; more than 1/tp where heads or groups are copied."""
        tp = self._tp
        if place.rule is Rule.KEY_VALUE and layer.kv_heads:
            return max(1, layer.kv_heads // tp), layer.kv_heads
        if place.rule is Rule.QKV and layer.kv_heads and layer.heads:
            mine = layer.heads + 2 * max(tp, layer.kv_heads // tp * tp)
            return mine, tp * (layer.heads + 2 * layer.kv_heads)
        state = layer.state
        if place.rule in (Rule.MAMBA_IN, Rule.MAMBA_CONV) and state is not None and layer.mixer is Mixer.MAMBA2:
            inner, both = state.heads * state.head_size, 2 * state.groups * state.state_size
            split = 2 * inner + state.heads if place.rule is Rule.MAMBA_IN else inner
            if split + both == extent:
                mine = both // state.groups * max(1, state.groups // tp)  # `extra_groups_for_head_shards`
                return split + mine * tp, tp * extent
        return (1, tp) if extent >= tp else (1, 1)


def vocabulary_rows(rows: int) -> int:
    """Rows of embedding and head: vLLM pads the vocabulary to a multiple of 64 before it divides it."""
    return -(-rows // _VOCABULARY_STEP) * _VOCABULARY_STEP
