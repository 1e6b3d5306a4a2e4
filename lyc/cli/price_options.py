"""The options that say what GPUs cost, for all verbs that ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.errors import UsageError

if TYPE_CHECKING:
    from lyc.planning.catalogue.prices import PriceBook
    from lyc.spec.settings import Settings

PriceWords = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="CARD=AMOUNT", help="Such as h100=2.79EUR/h; repeatable."),
]
PriceFile = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="A table of prices that wins over lyc's own.")
]
Residency = Annotated[
    str | None,
    typer.Option("--residency", metavar="REGION", help="Where the machine must stand: eu, eea, or such as de,fr."),
]


def price_book(words: Sequence[str] | None, file: Path | None, settings: Settings) -> PriceBook:
    """The bundled prices under those of the file (of `--prices`, else of the setting) under those of the words.

    Raises UsageError, naming what is wrong.
    """
    from lyc.planning.catalogue.prices import book

    where = "--prices" if file else settings.origins.get("prices", "")
    file = file or settings.prices
    return book(tuple(words or ()), file=None if file is None else _text(file, where), path=str(file))


def _text(file: Path, where: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise UsageError(
            "unreadable-price-file",
            f"{file} cannot be read",
            why=str(why),
            where=where,
            hint='make it with lines like h100 = "2.79EUR/h"',
        ) from problem
