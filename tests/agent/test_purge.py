"""Before lyc leaves a host: its processes end, and those of another controller keep it there."""

from __future__ import annotations

import pytest

from tests.agent.hosted import ROOT, Hosted, Refusal

pytestmark = pytest.mark.slow


def test_purge(own_host: Hosted) -> None:
    own_host.start("mine-1.1")
    own_host.start("theirs-1.1", owner="another")
    with pytest.raises(Refusal) as used:
        own_host.call("purge", request={"owner": "me"})
    assert used.value.ref == "host-in-use"
    assert "theirs-1.1" in str(used.value)
    assert own_host.status("mine-1.1")["state"] == "running"
    own_host.call("stop", "theirs-1.1", "--grace", "1")  # what was only left behind keeps nobody
    own_host.call("lock", request={"owner": "another", "who": "eve@box", "reason": "x"})
    with pytest.raises(Refusal) as locked:
        own_host.call("purge", request={"owner": "me"})
    assert locked.value.ref == "host-in-use"
    assert "eve@box" in str(locked.value)
    done = own_host.call("purge", request={"owner": "me", "force": True})
    assert done == {"stopped": ["mine-1.1"], "removed": ["mine-1.1", "theirs-1.1"]}
    assert own_host.machine.shell(f"ls {ROOT}/replicas") == ""
    assert own_host.machine.shell("ls /etc/systemd/system/ | grep 'lyc-replica@[a-z]' || true") == ""
    own_host.call("unlock", request={"force": True})
    assert own_host.call("purge", request={"owner": "me"}) == {"stopped": [], "removed": []}
    with pytest.raises(Refusal):
        own_host.call("purge", request={})
