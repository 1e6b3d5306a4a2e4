"""Hosts as the API shows them: `HostDocument` of docs/controller-api.md."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

from lyc.control.host_plans import carried_out, plan_on
from lyc.control.rent_documents import rented
from lyc.engines.preflight import preflight, verdict
from lyc.records.host import Check, CheckState, KnownHost, RemoteFacts
from lyc.spec.host_address import shown
from lyc.store import Store

_STATES = {CheckState.FAILED: "unfit", CheckState.WARNING: "ready", CheckState.UNKNOWN: "ready"}
_ERRORS = {"host-unreachable": "unreachable", "host-denied": "denied", "host-key-changed": "key-changed"}


def hosts(store: Store) -> list[dict[str, Any]]:
    """All of them."""
    there = _replicas(store)
    return [_host(store, known, there[known.host.name]) for known in store.hosts()]


def host(store: Store, name: str) -> dict[str, Any]:
    """One of them. Raises NotFound `no-such-host`."""
    return _host(store, store.host(name), _replicas(store)[name])


def _host(store: Store, known: KnownHost, replicas: list[dict[str, Any]]) -> dict[str, Any]:
    """As of the last look. The checks are held against what this release needs, also when it looked with another."""
    checks = preflight(known.host.name, known.facts) if known.facts else ()
    return {
        "name": known.host.name,
        "address": shown(known.host.address, known.host.port),
        "state": _state(known, checks),
        "fingerprints": list(known.host.fingerprints),
        "added_at": known.host.added_at,
        "seen_at": known.seen_at,
        "facts": facts(known.facts) if known.facts else None,
        "checks": [dataclasses.asdict(check) for check in checks],
        "error": known.error,
        "lease_seconds": known.host.lease_seconds,
        "country": known.host.country,
        "rental": known.host.rental,
        "rented": rented(known.host.name, store.rentals(open_only=True)) if known.host.rental else None,
        "prepared": store.prepared(known.host.name) is not None,
        "replicas": replicas,
    }


def _replicas(store: Store) -> defaultdict[str, list[dict[str, Any]]]:
    """What runs on each host, by its name."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for deployment in store.deployments():
        releases = {release.number: release for release in store.releases(deployment.name)}
        placements = store.placements.list(deployment.name)
        for replica in store.replicas(deployment.name):
            release = releases.get(replica.release)
            plan = carried_out(plan_on(release, replica.host, placements), replica) if release else None
            found[replica.host].append(
                {
                    "id": replica.id,
                    "deployment": deployment.name,
                    "release": replica.release,
                    "state": replica.state.value,
                    "gpus": list(plan.devices) if plan and plan.devices is not None else None,
                }
            )
    return found


def facts(found: RemoteFacts) -> dict[str, Any]:
    """`FactsDocument`: all of it, sets as sorted lists."""
    return dataclasses.asdict(found) | {"cpu_flags": sorted(found.cpu_flags)}


def _state(known: KnownHost, checks: tuple[Check, ...]) -> str:
    """ready | unfit | unreachable | denied | key-changed | failed."""
    if known.error is not None:
        return _ERRORS.get(str(known.error.get("ref")), "failed")
    return _STATES.get(verdict(checks), "ready")
