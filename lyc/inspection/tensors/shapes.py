"""Shapes as `data/families.json` writes them: words of letters, keys of config.json and numbers, with * and +.

H hidden · Q heads · K key/value heads · D size of a head · V of a value head · E experts · L layers · N vocabulary ·
I width of the MLP · W of an expert. `Q*D H` is a matrix of heads × size rows and hidden columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from lyc.inspection.settings import Settings
from lyc.inspection.tensors.parts import Bare, Linear, Part
from lyc.records.architecture import Layer, Mixer

_NONE = Layer(Mixer.NONE)


def extras(
    rows: Iterable[tuple[str, ...]], text: Settings, count: int, at: str, layer: Layer = _NONE
) -> Iterator[Part]:
    """The parts that `rows` write, under the prefix `at`; those whose condition `layer` does not meet left out."""
    for name, words, *when in rows:
        shape = tuple(_side(word, text, count, layer) for word in words.split())
        if 0 in shape or not all(_holds(one, text, layer) for one in when):
            continue
        if name.startswith("@"):
            yield Linear(at + name[1:], shape[0], shape[1])
        else:
            yield Bare(at + name, shape)


def _side(word: str, text: Settings, count: int, layer: Layer) -> int:
    return sum(math.prod(_value(one, text, count, layer) for one in term.split("*")) for term in word.split("+"))


def _value(word: str, text: Settings, count: int, layer: Layer) -> int:
    match word:
        case "H":
            return text.whole("hidden_size") or 0
        case "N":
            return text.whole("vocab_size") or 0
        case "L":
            return count
        case "Q":
            return layer.heads
        case "K":
            return layer.kv_heads
        case "D":
            return layer.head_size
        case "V":
            return layer.value_head_size
        case "I":
            return layer.intermediate
        case "E":
            return layer.experts.count if layer.experts else 0
        case "W":
            return layer.experts.intermediate if layer.experts else 0
        case _:
            return int(word) if word.isdigit() else text.whole(word) or 0


def _holds(when: str, text: Settings, layer: Layer) -> bool:
    match when:
        case "experts":
            return layer.experts is not None
        case "attention":
            return layer.heads > 0
        case "state":
            return layer.state is not None
        case "sliding":
            return layer.mixer is Mixer.SLIDING
        case _:
            return bool(text.get(when))
