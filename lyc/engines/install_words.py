"""What to type to install something, by distribution (`ID` of os-release); `$ ` before a command on the host. Pure."""

from __future__ import annotations

_MANAGERS = {
    "apt-get install -y": ("debian", "ubuntu", "linuxmint", "pop", "raspbian", "kali"),
    "dnf install -y": ("fedora", "rhel", "centos", "rocky", "almalinux", "ol", "amzn", "azurelinux"),
    "zypper install -y": ("sles", "opensuse-leap", "opensuse-tumbleweed"),
    "pacman -S --noconfirm": ("arch", "manjaro"),
    "apk add": ("alpine",),
}
_UBUNTU = "$ sudo apt-get update && sudo apt-get install -y nvidia-driver-580-server-open && sudo reboot"
_PAGE = "install driver 580 or newer, then reboot: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide"


def install_words(os_id: str, packages: str) -> str:
    """`$ sudo apt-get install -y …`; in words where the distribution is not known."""
    manager = next((command for command, ids in _MANAGERS.items() if os_id in ids), None)
    return f"$ sudo {manager} {packages}" if manager else f"install {packages} with the system's package manager"


def driver_words(os_id: str) -> str:
    """How a driver that is new enough comes onto the host."""
    return _UBUNTU if os_id == "ubuntu" else _PAGE
