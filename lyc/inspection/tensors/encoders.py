"""The parameters of towers, and of what joins them to the language model, by `data/encoders.json` and `wholes.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from lyc.inspection.sections import Sections
from lyc.inspection.settings import Settings
from lyc.inspection.tensors.parts import Part
from lyc.inspection.tensors.shapes import Value, written
from lyc.inspection.towers import sections_of_towers, sizes
from lyc.records.architecture import Tower

Placed = tuple[Part, tuple[int, ...]]
Rows = tuple[tuple[str, ...], ...]


def prefixes(found: Sections) -> tuple[str, str] | None:
    """(prefix of the language model, name of its output table) in a model of several parts."""
    row = _row("wholes", found.outer.model_type)
    if row is None or (found.outer is found.text and not sections_named(found)):
        return None
    return str(row["text"]), str(row.get("head", "lm_head"))


def sections_named(found: Sections) -> bool:
    return bool(found.path) or bool(next(sections_of_towers(found), None))


def encoders(found: Sections) -> Iterator[Placed]:
    """All parameters beside the language model. Kinds that no table knows are left out, and named as missing."""
    whole = _row("wholes", found.outer.model_type)
    places = whole.get("towers") if whole else None
    towers: dict[str, tuple[Settings, Tower]] = {}
    for key, kind, part in sections_of_towers(found):
        row, place = _row("encoders", part.model_type), places.get(key) if isinstance(places, Mapping) else None
        towers[kind[0]] = part, sizes(kind, part)
        if row is None or place is None:
            found.text.missing[f"tensors of {key}"] = None
            continue
        yield from _encoder(row, part, sizes(kind, part), str(place))
    if whole and towers:
        for one in written(
            _rows(whole.get("joints")), "", _joint(found, towers), lambda key: bool(found.outer.get(key))
        ):
            yield one, ()


def _encoder(row: Mapping[str, object], part: Settings, tower: Tower, at: str) -> Iterator[Placed]:
    value = _letters(row, part, tower)

    def holds(key: str) -> bool:
        return part.flag(key, default=key == "vision_use_head")

    for one in written(_rows(row.get("once")), at, value, holds):
        yield one, ()
    for one in written(_rows(row.get("each")), f"{at}{row['layers']}.{{layer}}.", value, holds):
        yield one, tuple(range(tower.layers))
    match row.get("repeat"):
        case [str(key), str(name), list(rows)]:
            for number in range(len(part.listing(key) or [0, 0, 0])):
                for one in written(_rows(rows), f"{at}{name}.{number}.", value, holds):
                    yield one, ()


def _letters(row: Mapping[str, object], part: Settings, tower: Tower) -> Value:
    """H width · I of the MLP · Q heads · C channels · P side of a patch · X patches of a picture · M merged patches."""
    hidden = part.whole(str(row["width"])) if "width" in row else tower.hidden
    patch, merge = part.whole("patch_size") or 0, part.whole("spatial_merge_size") or 2
    picture = (part.whole("image_size") or 0) // patch if patch else 0
    inner = tower.intermediate
    if "width" in row and (ratio := part.number("mlp_ratio")):
        inner = int((hidden or 0) * ratio)
    letters = {
        "H": hidden or 0, "I": inner, "Q": tower.heads, "P": patch, "X": picture**2,
        "C": part.whole("num_channels") or part.whole("in_channels") or part.whole("in_chans") or 3,
        "M": (hidden or 0) * merge**2,
    }  # fmt: skip
    return lambda word: letters[word] if word in letters else part.whole(word) or 0


def _joint(found: Sections, towers: Mapping[str, tuple[Settings, Tower]]) -> Value:
    """T hidden of the language model · F layers of the tower that are read · `v.` and `a.` of a tower."""
    features = found.outer.get("vision_feature_layer")

    def value(word: str) -> int:
        if word == "T":
            return found.text.whole("hidden_size") or 0
        if word == "F":
            return len(features) if isinstance(features, list) else 1
        if word[1:2] == "." and word[0] in towers:
            part, tower = towers[word[0]]
            return _letters({}, part, tower)(word[2:])
        return found.outer.whole(word) or 0

    return value


@cache
def _table(name: str) -> Mapping[str, Mapping[str, object]]:
    text = resources.files("lyc.inspection").joinpath(f"data/{name}.json").read_text("utf-8")
    loaded: Mapping[str, Mapping[str, object]] = json.loads(text)
    return loaded


@cache
def _row(table: str, key: str) -> Mapping[str, object] | None:
    row = _table(table).get(key)
    if row is None:
        return None
    like = row.get("like")
    base = _row(table, like) if isinstance(like, str) else None
    return {**(base or {}), **row}


def _rows(found: object) -> Rows:
    return tuple(tuple(map(str, row)) for row in found) if isinstance(found, list) else ()
