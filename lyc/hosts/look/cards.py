"""GPUs: the cards, who holds memory on them, the driver and the CUDA it supports, and what is wrong. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from lyc.hosts import nvidia
from lyc.hosts.look.sections import Section, Sections
from lyc.planning.catalogue.cards import of_product
from lyc.records.host import GpuProcess
from lyc.records.plan import Accelerator
from lyc.units import MIB

_NVIDIA = "0x10de"


def accelerators(section: Section) -> tuple[tuple[Accelerator, ...], str | None]:
    """(cards, driver). A capability that an old driver does not tell is the catalogue's."""
    cards, driver = nvidia.parse(section.text)
    return tuple(_with_capability(card) for card in cards), driver


def driver_module(section: Section) -> str | None:
    """Version of the kernel's module, which is there also when nvidia-smi cannot speak to it."""
    match = re.search(r"^NVRM version:.*?\s(\d{3}\.\d+(?:\.\d+)?)\s", section.text, re.MULTILINE)
    return match[1] if match else None


def cuda(section: Section) -> tuple[int, int] | None:
    """The newest CUDA that the driver supports, of nvidia-smi's head: `CUDA Version: 12.4`, newer ones with `UMD`."""
    match = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", section.text)
    return (int(match[1]), int(match[2])) if match else None


def mig(sections: Sections) -> bool:
    """Whether any card is split, or switched to be."""
    on = re.search(r"^GPU-[\w-]+,\s*Enabled\s*$", sections["mig"].text, re.MULTILINE)
    return bool(on or re.search(r"^\s+MIG .*\(UUID: MIG-", sections["list"].text, re.MULTILINE))


def processes(section: Section) -> tuple[GpuProcess, ...]:
    """Compute processes with the memory that they hold; a name may have commas in it. `[N/A]` counts as 0 bytes."""
    found = []
    for line in section.lines:
        match = re.match(r"^((?:GPU|MIG)-[\w/-]+),\s*(\d+),\s*(.*),\s*(\d+|\[[^\]]*\])\s*$", line)
        if match:
            used = int(match[4]) * MIB if match[4].isdigit() else 0
            found.append(GpuProcess(match[1], int(match[2]), match[3].strip(), used))
    return tuple(found)


def seen(section: Section) -> int | None:
    """NVIDIA cards on the PCI bus, driver or not; None where the bus cannot be read."""
    if section.code is None:
        return None
    return sum(line.split()[1:2] == [_NVIDIA] for line in section.lines)


def problem(section: Section, cards: tuple[Accelerator, ...]) -> tuple[str | None, int | None]:
    """(what nvidia-smi said instead of naming cards, its exit status); None when it named some, or is not there."""
    if cards or section.absent:
        return None, None
    said = [line.strip() for line in section.lines]
    return " ".join(said[:3]) or f"nvidia-smi ended with {section.code} and said nothing", section.code


def _with_capability(card: Accelerator) -> Accelerator:
    known = of_product(card.product) if card.compute_capability is None else None
    return card if known is None else replace(card, compute_capability=known.compute_capability)
