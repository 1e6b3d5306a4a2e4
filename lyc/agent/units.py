"""The text of lyc's systemd units. Pure. Words of systemd.exec(5) and systemd.service(5), as version 252 knows them.

One template for all replicas of a machine; what differs between them (cards, secrets) is a drop-in of each instance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lyc.agent.root import ACCOUNT

UNITS = "/etc/systemd/system"
UNIT_PATH = f"{UNITS}/lyc-replica@.service"
GAVE_UP = 99
"""Exit status of `launch` when it will not start the engine any more."""
STOP_SECONDS = 90
"""What an engine gets to end when the machine goes down, and the longest grace of `stop`."""
STARTS, STARTS_SECONDS = 20, 7200
"""A second net under the back-off of `lyc.agent.launch`, which also holds where no record can be written."""


def unit(identity: str) -> str:
    """The unit of a replica. An identity has no character that systemd would escape."""
    return f"lyc-replica@{identity}.service"


def drop_in_path(identity: str) -> str:
    return f"{UNITS}/{unit(identity)}.d/replica.conf"


def wanted_path(identity: str) -> str:
    """The link that makes it start with the machine."""
    return f"{UNITS}/multi-user.target.wants/{unit(identity)}"


def template(root: str, python: str, program: str) -> str:
    """The unit `lyc-replica@.service`. root, python, program: absolute paths on the host, readable by everybody, of
    letters, digits and `._+@/-` (else ValueError).

    The engine may write into its own folder and what it compiled, sees no other replica's folder or credentials, has
    no rights to gain, and reaches nothing but loopback. Left out because CUDA and torch need it: MemoryDenyWriteExecute
    (they compile at run time), a filter of system calls, PrivateDevices (it would hide the cards).
    """
    root = _safe(root)
    agent = f"{_safe(python)} -I {_safe(program)} --root {root}"
    return f"""\
[Unit]
Description=lyc replica %i
After=network.target nvidia-persistenced.service
RequiresMountsFor={root}
StartLimitIntervalSec={STARTS_SECONDS}
StartLimitBurst={STARTS}

[Service]
Type=notify
NotifyAccess=main
ExecStart={agent} launch %i %b
ExecStopPost={agent} ended %i
Restart=always
RestartSec=100ms
RestartPreventExitStatus={GAVE_UP}
TimeoutStartSec=infinity
TimeoutStopSec={STOP_SECONDS}
KillMode=mixed
OOMPolicy=kill

User={ACCOUNT}
Group={ACCOUNT}
UMask=0077
WorkingDirectory={root}/replicas/%i
StandardInput=null
StandardOutput=journal
StandardError=journal
SyslogIdentifier=lyc-%i
SyslogLevelPrefix=no
LogRateLimitIntervalSec=0

LimitCORE=0
LimitNOFILE=65536
LimitMEMLOCK=infinity
TasksMax=infinity

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
TemporaryFileSystem={root}/replicas:ro
BindPaths={root}/replicas/%i
ReadWritePaths=-{root}/compiled
ProtectHome=yes
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
RemoveIPC=yes
IPAddressDeny=any
IPAddressAllow=localhost
DevicePolicy=closed

[Install]
WantedBy=multi-user.target
"""


def drop_in(
    secrets: Mapping[str, Path],
    devices: Sequence[str] = (),
    groups: Sequence[str] = (),
    before: Sequence[Sequence[str]] = (),
) -> str:
    """What one replica has of its own.

    secrets: name of a credential → file that only root can read. devices: what DeviceAllow takes. groups: that exist.
    before: commands with all rights that may fail, run before each start.
    """
    lines = ["[Service]"]
    lines += [f"LoadCredential={name}:{_safe(str(path))}" for name, path in secrets.items()]
    lines += [f"DeviceAllow={device} rw" for device in devices]
    lines += [f"SupplementaryGroups={' '.join(groups)}"] if groups else []
    lines += [f"ExecStartPre=-+{' '.join(command)}" for command in before]
    return "\n".join(lines) + "\n"


def container_drop_in() -> str:
    """What the replica has of its own that runs in a container: the unit keeps the client of Docker or Podman, which is
    root's and asks for rights that the template takes away. The engine has its limits from the container.

    It ends before Docker does when the machine goes down. Docker's client tells of SIGTERM as a shell does, by 143.
    """
    return """\
[Unit]
Wants=docker.service
After=docker.service docker.socket containerd.service

[Service]
User=root
Group=root
SuccessExitStatus=143
WorkingDirectory=/
NoNewPrivileges=no
CapabilityBoundingSet=~
ProtectSystem=no
TemporaryFileSystem=
BindPaths=
ReadWritePaths=
ProtectHome=no
PrivateTmp=no
ProtectProc=default
ProtectClock=no
ProtectHostname=no
ProtectControlGroups=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
LockPersonality=no
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
RestrictAddressFamilies=
SystemCallArchitectures=
RemoveIPC=no
IPAddressDeny=
IPAddressAllow=
DevicePolicy=auto
"""


def _safe(path: str) -> str:
    """A path as it may stand anywhere in a unit file. Raises ValueError for one that would need quoting."""
    if not re.fullmatch(r"/[A-Za-z0-9._+@/-]+", path):
        raise ValueError(f"{path!r} cannot stand in a unit of systemd")
    return path
