"""A setting that a running controller does not follow is not dropped without a word."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import Lyc


def test_a_setting_that_the_running_controller_was_not_started_with(lyc: Lyc, tmp_path: Path) -> None:
    lyc.run("controller", "start")
    elsewhere = {"LYC_CACHE": str(tmp_path / "elsewhere")}
    heard = lyc.run("controller", "status")
    assert "warning" not in heard.stderr
    unheard = lyc.run("controller", "status", env=elsewhere)
    assert unheard.stderr.count("LYC_CACHE") == 1
    assert "lyc controller restart" in unheard.stderr
    lyc.run("controller", "restart", env=elsewhere)
    assert "warning" not in lyc.run("controller", "status", env=elsewhere).stderr
