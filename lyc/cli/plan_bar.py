"""A card's memory as a bar: what each part takes of it, to be seen before it is read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lyc.records.fit import Fit
from lyc.units import GIB

PARTS = (
    ("weights", "weights", "█", "W"),
    ("non_torch", "outside torch", "▞", "N"),
    ("activation", "activation", "▓", "A"),
    ("cuda_graph", "CUDA graphs", "▒", "G"),
    ("kv_cache", "KV cache", "░", "K"),
)
"""Key of the part in documents, its name, its glyph, and the letter for terminals that cannot draw."""
FREE = ("free", "left free", "·", ".")
_COLUMN = 25


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of the bar. size in bytes."""

    part: str
    name: str
    glyph: str
    size: int


def pieces(fit: Fit, *, letters: bool = False) -> tuple[Piece, ...]:
    """Every part of the card, in the order of the bar; those of no size too. letters: for terminals without glyphs."""
    found = [Piece(part, name, letter if letters else glyph, fit.size(part)) for part, name, glyph, letter in PARTS]
    part, name, glyph, letter = FREE
    rest = max(fit.card.cuda_total - sum(piece.size for piece in found), 0)
    return (*found, Piece(part, name, letter if letters else glyph, rest))


def bar(parts: Sequence[Piece], cells: int) -> str:
    """`cells` characters, shared out by size; a part that is there at all gets at least one."""
    return "".join(piece.glyph * count for piece, count in zip(parts, _shares(parts, cells), strict=True))


def legend(parts: Sequence[Piece], width: int) -> str:
    """Glyph, name and GiB of each part, in as many columns as `width` holds."""
    shown = [piece for piece in parts if piece.size or piece.part != "free"]
    cells = [f"{piece.glyph} {piece.name:<13} {piece.size / GIB:>7.2f}" for piece in shown]
    columns = max(1, min(3, width // _COLUMN))
    rows = [cells[at : at + columns] for at in range(0, len(cells), columns)]
    return "\n".join("   ".join(row) for row in rows)


def _shares(parts: Sequence[Piece], cells: int) -> list[int]:
    """Whole cells by the largest remainder, so that they add up; what is small is drawn larger than it is, not lost."""
    total = sum(piece.size for piece in parts)
    if total == 0:
        return [0] * len(parts)
    exact = [piece.size * cells / total for piece in parts]
    shares = [max(int(part), 1 if part else 0) for part in exact]
    while (odd := cells - sum(shares)) != 0:
        step = 1 if odd > 0 else -1
        able = [at for at, share in enumerate(shares) if exact[at] and (step > 0 or share > 1)]
        if not able:
            break
        at = max(able, key=lambda at: (exact[at] - shares[at]) * step)
        shares[at] += step
    return shares
