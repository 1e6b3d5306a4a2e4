"""What a model is made of, before anything says how it is stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix of out × into elements, which a quantization may pack. bias: a vector of `out` beside it.

    experts: how many of it a layer has, 0 = one. packed: their weights stand in one tensor, experts first. turned: the
    inputs stand before the outputs.
    """

    name: str
    out: int
    into: int
    bias: bool = False
    experts: int = 0
    packed: bool = False
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Bare:
    """A parameter that stays as it is: a norm, a router, a table. dtype: of the model where empty."""

    name: str
    shape: tuple[int, ...]
    dtype: str = ""


Part = Linear | Bare


def norm(name: str, size: int, *, bias: bool = False) -> list[Part]:
    """A normalization over `size` elements."""
    weight: list[Part] = [Bare(f"{name}.weight", (size,))]
    return [*weight, Bare(f"{name}.bias", (size,))] if bias else weight
