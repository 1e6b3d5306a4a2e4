"""User data of a machine: what cloud-init does at its first start. Pure."""

from __future__ import annotations

import json
import math

from lyc.errors import Failed

LARGEST = 16 << 10
"""Bytes that EC2 takes. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html"""

_BOOT = "/var/lib/lyc-boot"
_LIMIT = "/var/lib/lyc-time-limit"


def user_data(public_key: str, boot_script: str | None, time_limit: float | None) -> str:
    """Who may log in, when the machine switches itself off, and the boot script, in this order.

    The same arguments give the same text, so that a create may be repeated. time_limit: seconds, rounded up to minutes.
    Raises Failed `provider-refused` for more than EC2 takes.
    """
    files: list[dict[str, str]] = []
    commands: list[list[str]] = []
    if time_limit is not None:
        files.append(_file(_LIMIT, _limit(max(1, math.ceil(time_limit / 60)))))
        commands.append(["/bin/sh", _LIMIT])
    if boot_script is not None:
        files.append(_file(_BOOT, boot_script))
        commands.append([_BOOT])
    # JSON is YAML too.
    told = {"ssh_authorized_keys": [public_key.strip()], "write_files": files, "runcmd": commands}
    text = "#cloud-config\n" + json.dumps(told, indent=1) + "\n"
    if len(text.encode()) > LARGEST:
        what = "the start-up script is longer than AWS takes"
        raise Failed("provider-refused", what, why=f"{len(text.encode())} of {LARGEST} bytes")
    return text


def _file(path: str, content: str) -> dict[str, str]:
    return {"path": path, "permissions": "0700", "content": content}


def _limit(minutes: int) -> str:
    # `shutdown` forgets its appointment when the machine is started anew: the timer does not.
    return f"""#!/bin/sh
shutdown -P +{minutes}
cat > /etc/systemd/system/lyc-time-limit.service <<EOF
[Service]
ExecStart=/usr/bin/systemctl poweroff
EOF
cat > /etc/systemd/system/lyc-time-limit.timer <<EOF
[Timer]
OnCalendar=$(date -u -d '+{minutes} minutes' '+%F %T') UTC
Persistent=true
[Install]
WantedBy=timers.target
EOF
systemctl daemon-reload
systemctl enable --now lyc-time-limit.timer
"""
