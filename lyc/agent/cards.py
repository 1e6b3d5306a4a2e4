"""Which device nodes and variables give an engine the cards that it may use, and no others.

NVIDIA: a card's number is its place among all by PCI address, as nvidia-smi counts; the number of its device node may
be another one (`Device Minor` below /proc/driver/nvidia). Major 195 is NVIDIA's (Documentation/admin-guide/devices.txt
of Linux); nodes are named by number because they may be made only when the first program asks for them.
AMD: the order of the nodes of KFD's topology, as ROCm counts.
"""

from __future__ import annotations

import grp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lyc.agent.answer import Refused

Card = TypeVar("Card", int, str)
NVIDIA = "/dev/char/195"
_CONTROL, _MODESET = 255, 254


@dataclass(frozen=True, slots=True)
class Granted:
    """What a unit says.

    devices: words of DeviceAllow. groups: that the engine must be in. before: commands that make the nodes.
    """

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()


def granted(wanted: Sequence[int] | None, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Granted:
    """For the cards of these numbers; None = all that there are. Raises Refused `no-such-card`."""
    if minors := nvidia_minors(proc):
        chosen = _chosen(minors, wanted)
        if not chosen:
            return Granted()
        nodes = [f"{NVIDIA}:{minor}" for minor in (*chosen, _CONTROL, _MODESET)]
        # Without rights to gain the engine cannot have nvidia-modprobe make the nodes, as CUDA otherwise does.
        modprobe = shutil.which("nvidia-modprobe", path="/usr/bin:/usr/sbin")
        before = ((modprobe, *(f"-c={minor}" for minor in chosen)), (modprobe, "-u", "-c=0")) if modprobe else ()
        return Granted((*nodes, "char-nvidia-uvm", "char-nvidia-caps"), (), before)
    if (cards := amd_nodes(sys)) and (renderers := _chosen(cards, wanted)):
        return Granted(("/dev/kfd", *renderers), _groups("video", "render"))
    return Granted()


def variables(wanted: Sequence[int] | None, *, confined: bool) -> dict[str, str]:
    """The environment by which CUDA and ROCm see these cards only.

    confined: whether the kernel refuses the engine all others (DeviceAllow). Then CUDA, ROCm and NVML do not count
    those: the first that it may use is 0, whatever its number on the machine. So does Slurm with ConstrainDevices.
    """
    if wanted is None:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    chosen = ",".join(map(str, range(len(wanted)) if confined else wanted))
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": chosen, "HIP_VISIBLE_DEVICES": chosen}


def nvidia_minors(proc: Path) -> list[int]:
    """The number of each card's device node, in the order of the cards."""
    found: list[int] = []
    for place in sorted((proc / "driver/nvidia/gpus").glob("*/information")):
        lines = dict(line.partition(":")[::2] for line in place.read_text(errors="replace").splitlines())
        found.append(int(lines.get("Device Minor", str(len(found)))))
    return found


def amd_nodes(sys: Path) -> list[str]:
    """The render node of each card, in the order of the cards. A node of KFD without compute units is a CPU."""
    found: list[str] = []
    places = (sys / "class/kfd/kfd/topology/nodes").glob("*/properties")
    for place in sorted(places, key=lambda path: int(path.parent.name)):
        words = dict(line.split()[:2] for line in place.read_text().splitlines() if len(line.split()) == 2)
        if int(words.get("simd_count", "0")) > 0:
            found.append(f"/dev/dri/renderD{words.get('drm_render_minor', '128')}")
    return found


def _chosen(cards: Sequence[Card], wanted: Sequence[int] | None) -> list[Card]:
    if wanted is None:
        return list(cards)
    if absent := [number for number in wanted if not 0 <= number < len(cards)]:
        raise Refused("no-such-card", f"this machine has no card {absent[0]}", why=f"it has {len(cards)}, from 0 on")
    return [cards[number] for number in wanted]


def _groups(*names: str) -> tuple[str, ...]:
    known = {group.gr_name for group in grp.getgrall()}
    return tuple(name for name in names if name in known)
