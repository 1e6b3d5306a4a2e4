"""Which layers share block numbers, and what one block then takes on a pipeline stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lyc.planning.cache_rules import Rules
from lyc.planning.cache_specs import Keeps, Spec
from lyc.records.serving import Stage

Numbered = tuple[tuple[int, Spec], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share block numbers. spec: of each. layers: on the stage. size: bytes of a block in these.

    whole: bytes of a block in the group's layers of all stages.
    """

    spec: Spec
    layers: int
    size: int
    whole: int


def groups(layers: Numbered, rules: Rules, stage: Stage) -> tuple[Group, ...]:
    """The groups as the version makes them, each with its layers on this stage.

    vllm/v1/core/kv_cache_utils.py: get_kv_cache_config (0.9.2), get_kv_cache_groups and
    _get_kv_cache_groups_uniform_page_size (0.11.0 on).
    """
    here = range(stage.first, stage.last)
    if not rules.whole:
        layers = tuple((number, spec) for number, spec in layers if number in here)
    if not layers:
        return ()
    kinds = {(spec.keeps, spec.reach, spec.tokens) for _, spec in layers}
    if len(kinds) == 1:
        return _one(layers, here, rules)
    layers = _unify(layers)
    by_spec: dict[Spec, list[int]] = {}
    for number, spec in layers:
        by_spec.setdefault(spec, []).append(number)
    width = _width([len(numbers) for numbers in by_spec.values()], rules)
    found: list[Group] = []
    for spec, numbers in by_spec.items():
        count = -(-len(numbers) // width)
        for at in range(count):
            members = numbers[at::count] if rules.whole else numbers[at * width : (at + 1) * width]
            held = sum(number in here for number in members)
            found.append(Group(spec, held, held * spec.page, len(members) * spec.page))
    return tuple(found)


def _one(layers: Numbered, here: range, rules: Rules) -> tuple[Group, ...]:
    """All layers keep the same tokens: one group, whatever their pages.

    Where pages differ (UniformTypeKVCacheSpecs), versions that do not project groups onto a stage divide its memory by
    the pages of the whole model.
    """
    held = [spec for number, spec in layers if number in here]
    whole, size = sum(spec.page for _, spec in layers), sum(spec.page for spec in held)
    if not rules.projected and len({spec.page for _, spec in layers}) > 1:
        size = whole
    return (Group((held or [layers[0][1]])[0], len(held), size, whole),)


def _unify(layers: Numbered) -> Numbered:
    """Raise smaller pages to the largest: more tokens a block where it divides, padding where not.

    unify_kv_cache_spec_page_size, 0.12.0; padding of attention 0.24.0, of states 0.26.0.
    """
    largest = max(spec.page for _, spec in layers)
    raised: dict[Spec, Spec] = {}
    for _, spec in layers:
        if spec in raised or spec.page == largest:
            continue
        ratio = largest // spec.page if spec.keeps is not Keeps.STATE and largest % spec.page == 0 else 1
        raised[spec] = replace(spec, page=largest, tokens=spec.tokens * ratio)
    return tuple((number, raised.get(spec, spec)) for number, spec in layers) if raised else layers


def _width(counts: list[int], rules: Rules) -> int:
    """Layers of a group: the smallest count of a kind, or the largest where little would be padded."""
    if rules.padding is not None and max(counts) < min(counts) * rules.padding:
        return max(counts)
    return min(counts)
