"""Stand-ins for NVIDIA cards in a host: device nodes, what the driver says below /proc, PCI, nvidia-smi. None computes.

The nodes have NVIDIA's numbers and no driver behind them: to open one ends with ENXIO where it is allowed, and with
EPERM where the control group of the process (DeviceAllow=) refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MAJOR, CONTROL = 195, 255
NAME, DRIVER, CUDA = "NVIDIA H100 80GB HBM3", "580.95.05", "13.0"
FOLDER = "/opt/cards"
UNIT = f"""[Unit]
Description=Cards that are none
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart={FOLDER}/up
"""


def put(root: Path, minors: Sequence[int]) -> None:
    """Write what the unit shows. minors: the number of each card's node, in the order of the cards' PCI addresses."""
    place = root / FOLDER.lstrip("/")
    nodes = [(f"nvidia{minor}", minor) for minor in minors] + [("nvidiactl", CONTROL)]
    files = {"driver/nvidia/version": f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER}  Wed Sep 10\n"}
    for number, minor in enumerate(minors):
        bus = f"0000:{number + 1:02x}:00.0"
        files[f"driver/nvidia/gpus/{bus}/information"] = (
            f"Model: \t\t {NAME}\nGPU UUID: \t GPU-{number}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        )
        for name, value in (("vendor", "0x10de"), ("device", "0x2330"), ("class", "0x030200")):
            files[f"pci/{bus}/{name}"] = f"{value}\n"
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    lines = [
        "#!/bin/sh -e",
        f"mount --bind {FOLDER}/driver /proc/driver",
        f"mount --bind {FOLDER}/pci /sys/bus/pci/devices",
        *(f"mknod -m 666 /dev/{name} c {MAJOR} {minor}" for name, minor in nodes),
    ]
    (place / "up").write_text("\n".join(lines) + "\n")
    (place / "up").chmod(0o755)
    (place / "down").write_text(
        f"rm -f {' '.join(f'/dev/{name}' for name, _ in nodes)}\numount /proc/driver /sys/bus/pci/devices\n"
    )


def answers(count: int) -> dict[str, str]:
    """What nvidia-smi says of so many idle cards; see `Machine.nvidia_smi`."""
    cards = [f"{NAME}, 81559, 81076, 9.0, GPU-{number}, {DRIVER}\n" for number in range(count)]
    return {
        "--query-gpu=name,memory.total*": "".join(cards),
        "--query-gpu=uuid,mig*": "".join(f"GPU-{number}, Disabled\n" for number in range(count)),
        "--query-compute-apps=*": "",
        "-L": "".join(f"GPU {number}: {NAME} (UUID: GPU-{number})\n" for number in range(count)),
        "": f"| NVIDIA-SMI {DRIVER}   Driver Version: {DRIVER}   CUDA Version: {CUDA} |\n",
    }
