"""The zip that travels to hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lyc.hosts.remote.program import agent_zip


def test_it_runs_where_nothing_of_lyc_is(tmp_path: Path) -> None:
    data, digest = agent_zip()
    (tmp_path / f"{digest}.pyz").write_bytes(data)
    argv = [sys.executable, "-I", "-S", str(tmp_path / f"{digest}.pyz"), "--root", str(tmp_path), "no-such-command"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: agent --root ROOT COMMAND …\n")


def test_the_same_source_gives_the_same_bytes() -> None:
    first = agent_zip()
    agent_zip.cache_clear()
    assert agent_zip() == first
