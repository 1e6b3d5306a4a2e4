"""Parameters as the tables write them: a name, a shape, conditions.

`@name` is a linear module; `name+` has a bias beside its weight; any other name is a parameter as it stands. A shape is
a word for each side; words are letters, keys of config.json and numbers, with * and +. `Q*D H` is a matrix of heads ×
size rows and hidden columns. Who reads the table says what the letters mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from lyc.inspection.settings import Settings
from lyc.inspection.tensors.parts import Bare, Linear, Part
from lyc.records.architecture import Layer, Mixer

Value = Callable[[str], int]
"""A word of a shape → the number that it stands for; 0 leaves the parameter out."""
Holds = Callable[[str], bool]


def written(rows: Iterable[tuple[str, ...]], at: str, value: Value, holds: Holds) -> Iterator[Part]:
    """The parts that `rows` write, under the prefix `at`."""
    for name, words, *when in rows:
        if not all(holds(one) for one in when):
            continue
        shape = tuple(_side(word, value) for word in words.split())
        if 0 in shape:
            continue
        bias, bare = name.endswith("+"), name.strip("@+")
        if name.startswith("@"):
            yield Linear(at + bare, shape[0], shape[1], bias)
        elif bias:
            yield Bare(f"{at}{bare}.weight", shape)
            yield Bare(f"{at}{bare}.bias", shape[:1])
        else:
            yield Bare(at + bare, shape)


def _side(word: str, value: Value) -> int:
    return sum(
        math.prod(int(one) if one.isdigit() else value(one) for one in term.split("*")) for term in word.split("+")
    )


def of_layer(text: Settings, layer: Layer, count: int) -> tuple[Value, Holds]:
    """H hidden · Q heads · K key/value heads · D size of a head · E experts · W width of one · L layers."""
    experts = layer.experts
    letters = {
        "H": text.whole("hidden_size") or 0, "L": count, "Q": layer.heads, "K": layer.kv_heads, "D": layer.head_size,
        "E": experts.count if experts else 0, "W": experts.intermediate if experts else 0,
    }  # fmt: skip

    def holds(when: str) -> bool:
        match when:
            case "experts":
                return experts is not None
            case "attention":
                return layer.heads > 0
            case "state":
                return layer.state is not None
            case "sliding":
                return layer.mixer is Mixer.SLIDING
            case _:
                return bool(text.get(when))

    return lambda word: letters[word] if word in letters else text.whole(word) or 0, holds
