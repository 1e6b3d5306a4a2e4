"""Hosts as the API shows them: `HostDocument` of docs/controller-api.md."""

from __future__ import annotations

import dataclasses
from typing import Any

from lyc.engines.preflight import preflight, verdict
from lyc.records.host import Check, CheckState, KnownHost, RemoteFacts
from lyc.spec.host_address import shown

_STATES = {CheckState.FAILED: "unfit", CheckState.WARNING: "ready", CheckState.UNKNOWN: "ready"}
_ERRORS = {"host-unreachable": "unreachable", "host-denied": "denied", "host-key-changed": "key-changed"}


def host(known: KnownHost) -> dict[str, Any]:
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
    }


def facts(found: RemoteFacts) -> dict[str, Any]:
    """`FactsDocument`: all of it, sets as sorted lists."""
    return dataclasses.asdict(found) | {"cpu_flags": sorted(found.cpu_flags)}


def _state(known: KnownHost, checks: tuple[Check, ...]) -> str:
    """ready | unfit | unreachable | denied | key-changed | failed."""
    if known.error is not None:
        return _ERRORS.get(str(known.error.get("ref")), "failed")
    return _STATES.get(verdict(checks), "ready")
