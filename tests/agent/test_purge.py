"""Before lyc leaves a host: its processes end, and those of another controller keep it there."""

from __future__ import annotations

import pytest

from tests.agent.hosted import ROOT, Hosted, Refusal

pytestmark = pytest.mark.slow


def test_purge(hosted: Hosted) -> None:
    hosted.start("mine-1.1")
    hosted.start("theirs-1.1", owner="another")
    with pytest.raises(Refusal) as used:
        hosted.call("purge", request={"owner": "me"})
    assert used.value.ref == "host-in-use"
    assert "theirs-1.1" in str(used.value)
    assert hosted.status("mine-1.1")["state"] == "running"
    hosted.call("stop", "theirs-1.1", "--grace", "1")  # what was only left behind keeps nobody
    hosted.call("lock", request={"owner": "another", "who": "eve@box", "reason": "x"})
    with pytest.raises(Refusal) as locked:
        hosted.call("purge", request={"owner": "me"})
    assert locked.value.ref == "host-in-use"
    assert "eve@box" in str(locked.value)
    done = hosted.call("purge", request={"owner": "me", "force": True})
    assert done == {"stopped": ["mine-1.1"], "removed": ["mine-1.1", "theirs-1.1"]}
    assert hosted.machine.shell(f"ls {ROOT}/replicas") == ""
    assert hosted.machine.shell("ls /etc/systemd/system/ | grep 'lyc-replica@[a-z]' || true") == ""
    hosted.call("unlock", request={"force": True})
    assert hosted.call("purge", request={"owner": "me"}) == {"stopped": [], "removed": []}
    with pytest.raises(Refusal):
        hosted.call("purge", request={})
