"""`lyc deploy --host … --image …`: the real engine in a container of a host with real Podman, sshd and systemd.

The image is the host's own file system, into which the engine is mounted: vLLM's own has more than 10 GB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.away import Served, home
from tests.e2e.harness import FAST
from tests.lab.fixtures import container_machines, lab
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.podman import IMAGE

__all__ = ["container_machines", "lab"]
pytestmark = pytest.mark.engine
TINY = ("deploy", "sample:tiny", "--name", "tiny", "--host", "ssh://root@box", "--accept-host-key", "accept-new")
INSPECT = "podman inspect $(podman ps --quiet) --format"


def test_the_engine_comes_as_an_image(
    lab: Lab, container_machines: Callable[[int], list[Machine]], weights_cache: Path
) -> None:
    (machine,) = container_machines(1)
    with home(weights_cache) as place:
        place.knows(lab, "box", machine)
        lyc = place.lyc

        refused = lyc.run(*TINY, "--runtime", "container", *FAST, code=None)
        assert refused.returncode != 0
        assert "image-needed" in refused.stderr
        assert "--image" in refused.stderr
        assert not machine.shell("ls /var/lib").count("lyc")

        served = Served(lyc, machine, lyc.json(*TINY, "--image", IMAGE, *FAST))
        assert served.answers()
        assert machine.shell("ls /var/lib/lyc/engines 2>/dev/null || true") == ""
        key = (lyc.home / "deployments" / "tiny" / "engine.key").read_text().strip()
        assert key not in machine.shell(f"podman inspect $(podman ps --quiet); {INSPECT} '{{{{.Config.Env}}}}'; ps -ef")
        assert machine.shell(f"{INSPECT} '{{{{.HostConfig.ReadonlyRootfs}}}} {{{{.Config.User}}}}'").split() == [
            "true", f"{machine.shell('id -u lyc').strip()}:{machine.shell('id -g lyc').strip()}",
        ]  # fmt: skip
        assert "vLLM" in served.logs()
        assert lyc.json(*TINY, "--image", IMAGE, *FAST)["changed"] is False

        lyc.run("down", "tiny", "--yes")
        assert machine.shell("podman ps --all --quiet") == ""
        lyc.run("hosts", "rm", "box", "--purge", "--yes")
        assert machine.shell("ls -d /var/lib/lyc /etc/systemd/system/lyc* 2>/dev/null || true") == ""
