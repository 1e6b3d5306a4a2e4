"""How often Envoy looks at the file of each deployment's replicas.

Each look is a `stat`, and all of them are made by Envoy's one main thread, which also answers its admin interface: a
thousand files at 0.05 s took half of a CPU, and every answer 0.17 s. So there are places: few that are looked at often,
and more that are looked at seldom, 2,540 looks a second for a thousand deployments. A deployment keeps its place for
good, for it is a part of its cluster, and a cluster that changes begins anew: it would not know its streams.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

PLACES: tuple[tuple[str, int], ...] = (("0.02s", 10), ("0.05s", 30), ("0.25s", 160))
OFTEN = PLACES[0][0]
SELDOM = "1s"
"""A replica that is ready waits for half of it, on average."""


def intervals(deployments: Sequence[str], former: Mapping[str, str]) -> dict[str, str]:
    """By deployment; those of `former` are kept."""
    found = {name: former[name] for name in deployments if name in former}
    taken = Counter(found.values())
    for name in deployments:
        if name not in found:
            found[name] = next((interval for interval, places in PLACES if taken[interval] < places), SELDOM)
            taken[found[name]] += 1
    return found


def polled(clusters: str | None, prefix: str) -> dict[str, str]:
    """By deployment, as a file of clusters says it. prefix: of the names of their clusters."""
    found = {}
    with suppress(ValueError, LookupError, TypeError):
        for one in json.loads(clusters or "")["resources"]:
            if "eds_cluster_config" in one:
                source = one["eds_cluster_config"]["eds_config"]["path_config_source"]
                found[one["name"].removeprefix(prefix)] = str(source["poll_interval"])
    return found
