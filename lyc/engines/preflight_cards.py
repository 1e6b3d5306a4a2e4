"""The checks of cards and driver. Pure; `lyc.engines.preflight` is the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from lyc.engines import requirements
from lyc.engines.install_words import driver_words
from lyc.records.host import Check, CheckState, RemoteFacts
from lyc.records.plan import EngineBuild
from lyc.units import show_bytes

_FAILED, _WARNING, _UNKNOWN, _PASSED = CheckState
_FREE = 0.95
"""Part of a card that must be free: vLLM asks for 0.9 of it and refuses to start when less is free."""
_REBOOT = "$ sudo reboot"
_PROBLEMS = {
    6: ("no card answers the driver", "$ sudo dmesg | grep -iE 'nvrm|xid'"),
    9: ("the driver is not loaded", ""),
    12: ("the driver's library NVML is missing", ""),
    15: ("a card has fallen off the bus", _REBOOT),
    18: ("the driver was updated while the old one is still loaded", _REBOOT),
    124: ("nvidia-smi hangs", _REBOOT),
    137: ("nvidia-smi hangs", _REBOOT),
}
"""nvidia-smi's exit status → (what it means, what to type; empty = install the driver). nvidia-smi(1), RETURN VALUE;
18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h, 124 and 137 are those of timeout(1)."""


def cards(facts: RemoteFacts) -> Iterator[Check]:
    """Whether there are cards that answer."""
    why = "engines run on NVIDIA cards, or on the CPU where there are none"
    if facts.accelerators:
        counted = Counter(card.product or card.name for card in facts.accelerators)
        found = ", ".join(f"{count} × {product}" for product, count in counted.items())
        yield Check("gpu", _PASSED, found, why)
    elif facts.gpu_problem is not None:
        meaning, remedy = _PROBLEMS.get(facts.gpu_status or 0, ("nvidia-smi cannot tell of the cards", ""))
        remedy = remedy or (driver_words(facts.os_id) if facts.gpu_status in _PROBLEMS else "")
        remedy = remedy or "$ nvidia-smi"
        yield Check("gpu", _FAILED, f"{meaning}: {facts.gpu_problem}", why, remedy)
    elif facts.gpus_seen:
        there = f"{facts.gpus_seen} NVIDIA card{'s' * (facts.gpus_seen > 1)} on the PCI bus, but no nvidia-smi"
        yield Check("gpu", _FAILED, f"{there}: the driver is not installed", why, driver_words(facts.os_id))
    else:
        yield Check("gpu", _WARNING, "none; engines run on the CPU", why, "$ lspci -nn | grep -i nvidia")


def driver(facts: RemoteFacts, build: EngineBuild) -> Iterator[Check]:
    """Whether the driver knows the CUDA that the engine is built with."""
    needed = requirements.cuda(build)
    if needed is None or not facts.accelerators:
        return
    version = facts.driver or "unknown"
    least = requirements.DRIVERS.get(needed[0])
    oldest = f"{least[0]}.{least[1]:02d}" if least else f"of CUDA {needed[0]}"
    why = f"{build.id} is built with CUDA {needed[0]}.{needed[1]}, which needs driver {oldest} or newer"
    supported = f", CUDA {facts.cuda[0]}.{facts.cuda[1]}" if facts.cuda else ""
    # What nvidia-smi says counts the compatibility package in, with which older drivers take a newer CUDA.
    if facts.cuda is not None:
        good: bool | None = facts.cuda[0] >= needed[0]
    else:
        match = re.match(r"(\d+)\.(\d+)", version)
        good = (int(match[1]), int(match[2])) >= least if match and least else None
    if good is None:
        yield Check("driver", _UNKNOWN, "its version cannot be told", why, "$ nvidia-smi")
    elif good:
        yield Check("driver", _PASSED, f"{version}{supported}", why)
    else:
        yield Check("driver", _FAILED, f"{version}{supported} is too old", why, driver_words(facts.os_id))


def capability(facts: RemoteFacts) -> Iterator[Check]:
    """Whether the engine has kernels for the cards."""
    told = {card.compute_capability: card for card in facts.accelerators}
    least = requirements.LEAST_CAPABILITY
    why = f"the engine has no kernels for cards before compute capability {least // 10}.{least % 10} (Turing)"
    old = [card for value, card in told.items() if value is not None and value < least]
    if old:
        names = ", ".join(f"{card.product} ({_shown(card.compute_capability)})" for card in old)
        yield Check("capability", _FAILED, names, why, "lyc gpus")
    elif None in told:
        remedy = "$ nvidia-smi --query-gpu=name,compute_cap --format=csv"
        yield Check("capability", _UNKNOWN, "the driver does not tell it", why, remedy)
    elif told:
        yield Check("capability", _PASSED, ", ".join(sorted({_shown(value) for value in told})), why)


def busy(facts: RemoteFacts) -> Iterator[Check]:
    """Whether something else holds memory of the cards."""
    sized = [card for card in facts.accelerators if card.memory_total]
    if not sized:
        return
    why = "an engine takes 90 % of a card when it starts, and refuses to start where that is not free"
    full = [(at, card) for at, card in enumerate(facts.accelerators) if card.memory_free < _FREE * card.memory_total]
    full = [(at, card) for at, card in full if card.memory_total]
    least = min(card.memory_free for card in sized)
    if not full:
        yield Check("gpu-memory", _PASSED, f"at least {show_bytes(least)} free on each card", why)
        return
    holders = {process.pid: process for process in facts.processes}
    found = "; ".join(
        f"card {at}: {show_bytes(card.memory_free)} of {show_bytes(card.memory_total)} free" for at, card in full
    )
    if holders:
        told = ", ".join(f"{p.name} (pid {p.pid}, {show_bytes(p.used)})" for p in holders.values())
        remedy = f"$ ps -o pid,user,etime,args -p {','.join(map(str, holders))}"
        found += f", held by {told}"
    else:
        found += "; who holds it is not told (another container, or another user)"
        remedy = "$ sudo fuser -v /dev/nvidia0"
    state = _FAILED if len(full) == len(sized) and least < 0.5 * sized[0].memory_total else _WARNING
    yield Check("gpu-memory", state, found, why, remedy)


def split(facts: RemoteFacts) -> Iterator[Check]:
    """Whether cards are split by MIG."""
    if facts.mig:
        why = "an engine sees one slice of a split card, and cannot go over several"
        yield Check("mig", _WARNING, "cards are split (MIG)", why, "$ sudo nvidia-smi -mig 0")


def _shown(capability: int | None) -> str:
    return "unknown" if capability is None else f"{capability // 10}.{capability % 10}"
