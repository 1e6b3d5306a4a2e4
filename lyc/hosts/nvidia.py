"""What `nvidia-smi` says, as values. Pure; `lyc.hosts.facts` runs it."""

from __future__ import annotations

import re

from lyc.planning.catalogue.cards import of_product
from lyc.records.plan import Accelerator
from lyc.units import MIB

FIELDS = ("name", "memory.total", "memory.free", "compute_cap", "uuid", "driver_version")
QUERY = (f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")

_OTHERS = (
    (r"H800", "h800"), (r"H20\b", "h20"), (r"A800", "a800"), (r"A16\b", "a16"), (r"V100", "v100"), (r"P100", "p100"),
    (r"RTX PRO (\d{4})", r"rtx-pro-\1"), (r"RTX (\d{4}) Ada", r"rtx-\1-ada"), (r"RTX A(\d{4})", r"rtx-a\1"),
    (r"RTX (\d{4})( Ti)?( SUPER)?", r"rtx-\1\2\3"), (r"GTX (\d{4})( Ti)?", r"gtx-\1\2"),
)  # fmt: skip
"""Products that the catalogue does not have → a name that `--gpu` takes. The first that fits."""


def catalogue_name(product: str) -> str:
    """`NVIDIA H100 80GB HBM3` → `h100`; an unknown product in kebab-case, so that it can still be asked for."""
    card = of_product(product)
    if card is not None:
        return card.name
    for pattern, name in _OTHERS:
        match = re.search(rf"\b{pattern}", product)
        if match:
            return _kebab(match.expand(name))
    return _kebab(re.sub(r"^(?:NVIDIA|Tesla|Quadro)\s+", "", product))


def parse(text: str) -> tuple[tuple[Accelerator, ...], str | None]:
    """(cards in the order of their indexes, driver version) from the output for `QUERY`.

    A field that a card does not have (`[N/A]`, `[Not Supported]`) counts as unknown. Lines that are no row are skipped:
    nvidia-smi prints its complaints on stdout too.
    """
    cards: list[Accelerator] = []
    driver: str | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS) or not cells[4].startswith(("GPU-", "MIG-")):
            continue
        product, total, free, capability, uuid, version = cells
        cards.append(
            Accelerator(
                name=catalogue_name(product),
                product=product,
                memory_total=_mib(total),
                memory_free=_mib(free),
                compute_capability=_capability(capability),
                uuid=uuid,
            )
        )
        driver = version if re.match(r"^\d+\.", version) else driver
    return tuple(cards), driver


def _mib(cell: str) -> int:
    return int(cell) * MIB if cell.isdigit() else 0


def _capability(cell: str) -> int | None:
    match = re.match(r"^(\d+)\.(\d)$", cell)
    return int(match[1]) * 10 + int(match[2]) if match else None


def _kebab(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
