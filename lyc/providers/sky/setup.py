"""What SkyPilot runs on a machine as soon as it has set it up, as its own account there. Pure."""

from __future__ import annotations

import base64
import shlex

USER = "lyc-login"
"""Not `lyc`: that is the account under which engines run."""
_HOME = f"/home/{USER}"


def script(public_key: str, boot_script: str | None) -> str:
    """Makes lyc's account, whatever the cloud's image calls its own, and lets the key in; then the boot script.

    Running it twice is as once: a launch that is repeated does so.
    """
    lines = [
        "( set -eu",
        'root=; [ "$(id -u)" = 0 ] || root=sudo',
        f"id {USER} >/dev/null 2>&1 || $root useradd --create-home --home-dir {_HOME} --shell /bin/bash {USER}",
        f"echo '{USER} ALL=(ALL) NOPASSWD:ALL' | $root tee /etc/sudoers.d/90-{USER} >/dev/null",
        f"$root chmod 0440 /etc/sudoers.d/90-{USER}",
        f"$root install -d -m 0700 -o {USER} -g {USER} {_HOME}/.ssh",
        f"echo {shlex.quote(public_key.strip())} | $root tee {_HOME}/.ssh/authorized_keys >/dev/null",
        f"$root chown {USER}:{USER} {_HOME}/.ssh/authorized_keys",
        f"$root chmod 0600 {_HOME}/.ssh/authorized_keys",
    ]
    if boot_script is not None:
        # Its own first line says what runs it.
        coded, path = base64.b64encode(boot_script.encode()).decode(), f"{_HOME}/.lyc-boot"
        lines += [
            f"[ -e {path} ] || {{ echo {coded} | base64 -d | $root tee {path} >/dev/null",
            f"  $root chown root:root {path}; $root chmod 0700 {path}; $root {path}; }}",
        ]
    return "\n".join([*lines, ")", ""])
