"""A home that is removed while its controller runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import wait_for
from tests.replicas.stand_in import make_home

pytestmark = pytest.mark.slow


def test_a_controller_whose_home_was_removed_ends(tmp_path: Path) -> None:
    """It would find none of what it has started, and start it again and again."""
    home = make_home(tmp_path)
    home.deploy()
    controller, started = home.controller_pid(), home.pids()
    shutil.rmtree(home.home)
    try:
        wait_for(lambda: not psutil.pid_exists(controller), 30, "the controller's end")
        assert set(home.pids()) <= set(started), "nothing was started meanwhile"
    finally:
        for pid in home.pids():  # nobody knows of them any more
            psutil.Process(pid).kill()
        wait_for(lambda: not home.pids(), 30, "their end")
        shutil.rmtree(home.run_dir, ignore_errors=True)
