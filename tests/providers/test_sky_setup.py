"""What SkyPilot runs on a machine for lyc, run there as SkyPilot would: by an account that may sudo, on a real host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lyc.providers.sky import CAPABILITIES, setup
from tests.lab.fixtures import lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine

__all__ = ["lab"]
pytestmark = pytest.mark.slow
BOOT = '#!/bin/sh\necho "$(id -un) it\'s up" >> /var/tmp/booted\n'
Run = Callable[[str, str], str]


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    machines = lab.borrow(1)
    yield machines[0]
    lab.give_back(machines, spoiled=True)


@pytest.fixture
def run(lab: Lab, machine: Machine, tmp_path: Path) -> Run:
    """By SSH, with the lab's key, as somebody: what a script that is piped to bash writes."""
    config = tmp_path / "config"
    words = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n"
    config.write_text(lab.host_block("box", machine) + f"Host *\n{words}")

    def ssh(user: str, script: str) -> str:
        argv = ["ssh", "-F", str(config), "-o", f"User={user}", "box", "bash", "-s"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return ssh


def key_of(lab: Lab) -> str:
    return lab.key.with_suffix(".pub").read_text()


def as_(user: str, script: str) -> str:
    return f"su {user} -s /bin/bash -c 'cd; bash -s' <<'END'\n{script}END\n"


def test_lyc_gets_in_with_its_own_key_and_may_do_all(lab: Lab, machine: Machine, run: Run) -> None:
    """Where the image's account is not root; and once more, as a launch that is repeated does it."""
    script = setup.script(key_of(lab), BOOT)
    for _ in range(2):
        machine.shell(as_("ubuntu", script))
        assert run(CAPABILITIES.user, "sudo -n id -un; id -un; pwd") == "root\nlyc-login\n/home/lyc-login"
    assert machine.shell("cat /var/tmp/booted") == "root it's up\n"
    assert machine.shell("stat -c '%a %U' /home/lyc-login/.ssh/authorized_keys") == "600 lyc-login\n"
    assert machine.shell("visudo -c -f /etc/sudoers.d/90-lyc-login").strip().endswith("parsed OK")


def test_where_the_account_is_root(lab: Lab, machine: Machine, run: Run) -> None:
    """It needs no sudo there."""
    machine.shell(setup.script(key_of(lab), None))
    assert run(CAPABILITIES.user, "sudo -n id -un") == "root"


def test_what_fails_is_a_failure(lab: Lab, machine: Machine) -> None:
    """An account that may not become root: SkyPilot is told, so that the launch fails."""
    with pytest.raises(RuntimeError):
        machine.shell(as_("plain", setup.script(key_of(lab), BOOT)))
    assert "lyc-login" not in machine.shell("getent passwd")
