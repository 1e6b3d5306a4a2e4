"""Tensors that live at once: the peak of a run is the moment with most bytes. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lyc.units import GIB


@dataclass(frozen=True, slots=True)
class Tensor:
    """size in bytes. name: with its shape, as formulas show it."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the profiling run with everything that is allocated then beyond the weights."""

    name: str
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        return total(self.tensors)

    @property
    def formula(self) -> str:
        parts = " + ".join(f"{tensor.name} {tensor.size / GIB:.3f}" for tensor in self.tensors if tensor.size)
        return f"{self.name}: {parts} GiB"

    def beside(self, kept: Iterable[Tensor]) -> Moment:
        """The same while `kept` lives too."""
        return Moment(self.name, (*self.tensors, *kept))


def total(tensors: Iterable[Tensor]) -> int:
    """Bytes of them all."""
    return sum(tensor.size for tensor in tensors)


def peak(moments: Iterable[Moment]) -> Moment:
    """The fullest; there must be one."""
    return max(moments, key=lambda moment: moment.size)
