"""Which layers share block numbers, and what one block then takes on a pipeline stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lyc.planning.cache.rules import Rules
from lyc.planning.cache.specs import Keeps, Spec
from lyc.records.serving import Stage


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share block numbers. spec: of each. layers: on the stage. size: bytes of a block in these.

    whole: bytes of a block in the group's layers of all stages. text: how `size` comes about, where layers differ.
    """

    spec: Spec
    layers: int
    size: int
    whole: int
    text: str = ""


def groups(by_spec: Mapping[Spec, Sequence[int]], rules: Rules, stage: Stage) -> tuple[Group, ...]:
    """The groups as the version makes them, each with its layers on this stage.

    vllm/v1/core/kv_cache_utils.py: get_kv_cache_config (0.9.2), get_kv_cache_groups and
    _get_kv_cache_groups_uniform_page_size (0.11.0 on).
    """
    if not rules.whole:
        by_spec = {spec: here for spec, numbers in by_spec.items() if (here := on(stage, numbers))}
    if not by_spec:
        return ()
    by_spec = _united(by_spec, rules)
    if len({(spec.keeps, spec.reach, spec.tokens) for spec in by_spec}) == 1:
        return (_one(by_spec, rules, stage),)
    unified = _unify(by_spec)
    width = _width([len(numbers) for numbers in unified.values()], rules)
    found: list[Group] = []
    for spec, numbers in unified.items():
        count = -(-len(numbers) // width)
        for at in range(count):
            members = numbers[at::count] if rules.whole else numbers[at * width : (at + 1) * width]
            held = len(on(stage, members))
            found.append(Group(spec, held, held * spec.page, len(members) * spec.page))
    return tuple(found)


def on(stage: Stage, numbers: Sequence[int]) -> Sequence[int]:
    """Those of the layers that the stage holds."""
    if stage.of == 1:
        return numbers
    return [number for number in numbers if stage.first <= number < stage.last]


def _one(by_spec: Mapping[Spec, Sequence[int]], rules: Rules, stage: Stage) -> Group:
    """All layers keep the same tokens: one group, whatever their pages.

    Where pages differ (UniformTypeKVCacheSpecs), versions that do not project groups onto a stage divide its memory by
    the pages of the whole model.
    """
    held = {spec: len(on(stage, numbers)) for spec, numbers in by_spec.items()}
    whole = sum(spec.page * len(numbers) for spec, numbers in by_spec.items())
    size = sum(spec.page * count for spec, count in held.items())
    if not rules.projected and len({spec.page for spec in by_spec}) > 1:
        size = whole
    kinds = tuple(f"{spec.text} × {count} layers" for spec, count in held.items() if count)
    return Group(next(iter(by_spec)), sum(held.values()), size, whole, " + ".join(kinds))


def _united(by_spec: Mapping[Spec, Sequence[int]], rules: Rules) -> Mapping[Spec, Sequence[int]]:
    """Local attention sized as full attention, where the version has one block table and the model has both kinds.

    unify_hybrid_kv_cache_specs, 0.8.5 to 0.13.0.
    """
    kinds = {spec.keeps for spec in by_spec}
    if rules.windows and not (rules.chunks_unite and Keeps.CHUNK in kinds):
        return by_spec
    if Keeps.ALL not in kinds or not kinds & {Keeps.WINDOW, Keeps.CHUNK}:
        return by_spec
    united: dict[Spec, list[int]] = {}
    for spec, numbers in by_spec.items():
        local = spec.keeps in (Keeps.WINDOW, Keeps.CHUNK)
        united.setdefault(replace(spec, keeps=Keeps.ALL, reach=0) if local else spec, []).extend(numbers)
    return united


def _unify(by_spec: Mapping[Spec, Sequence[int]]) -> Mapping[Spec, Sequence[int]]:
    """Raise smaller pages to the largest: more tokens a block where it divides, padding where not.

    unify_kv_cache_spec_page_size, 0.12.0; padding of attention 0.24.0, of states 0.26.0.
    """
    largest = max(spec.page for spec in by_spec)
    raised: dict[Spec, list[int]] = {}
    for spec, numbers in by_spec.items():
        ratio = largest // spec.page if spec.keeps is not Keeps.STATE and largest % spec.page == 0 else 1
        raised.setdefault(replace(spec, page=largest, tokens=spec.tokens * ratio), []).extend(numbers)
    return raised


def _width(counts: list[int], rules: Rules) -> int:
    """Layers of a group: the smallest count of a kind, or the largest where little would be padded."""
    if rules.padding is not None and max(counts) < min(counts) * rules.padding:
        return max(counts)
    return min(counts)
