"""What a deploy makes of the policy, by the machine that it is on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lyc.control.deploy import wished
from lyc.records.deployment import Deployment, DeploymentSpec
from lyc.records.host import RENT, Host, KnownHost
from lyc.records.scaling import ScaleWish
from lyc.spec.scale import IdleSteps
from lyc.store import Store


@pytest.mark.parametrize(
    ("host", "most", "said", "expected"),
    [
        ("local", 4, None, ()),
        ("box", 4, None, ()),
        ("box", 4, ("any",), ("any",)),
        ("rented", 1, None, ()),
        ("rented", 4, None, (RENT,)),
        ("rented", 4, ("box",), ("box",)),
    ],
)
def test_where_further_replicas_may_run(
    tmp_path: Path, host: str, most: int, said: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    store = Store(tmp_path / "lyc.db")
    store.put_host(KnownHost(Host("box", "root@box")))
    store.put_host(KnownHost(Host("rented", "root@rented", rental="0a1b-1")))
    wish = ScaleWish(maximum=most, hosts=said)
    spec = replace(DeploymentSpec("d", "m", host=host), max_replicas=most, scale=wish)
    assert wished(store, Deployment("d", 0, 0), spec, IdleSteps(), 10.0).policy.hosts == expected
