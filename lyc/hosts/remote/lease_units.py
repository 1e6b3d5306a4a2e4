"""The text of the units that watch over a host's lease (`lyc.agent.lease`). Pure."""

from __future__ import annotations

SERVICE, TIMER = "lyc-lease.service", "lyc-lease.timer"
EVERY_SECONDS = 30
"""How often a lease is looked at; where there is none, nothing is started."""


def lease_units(root: str, python: str, program: str) -> dict[str, str]:
    """File name → text. Paths are absolute, of letters, digits and `._+@/-`."""
    service = f"""\
[Unit]
Description=lyc: stop what runs here when its controller has been silent for too long
ConditionPathExists={root}/lease.json
RequiresMountsFor={root}
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={python} -I {program} --root {root} lease-check
StandardOutput=null
StandardError=journal
SyslogIdentifier=lyc-lease
LogLevelMax=notice
"""
    # By the calendar, and not by the time since the last run: one whose condition fails is no run. What the clock says
    # does not matter, only that it goes on.
    timer = f"""\
[Unit]
Description=lyc: look at the lease of this host

[Timer]
OnCalendar=*:*:0/{EVERY_SECONDS}
AccuracySec=5s

[Install]
WantedBy=timers.target
"""
    return {SERVICE: service, TIMER: timer}
