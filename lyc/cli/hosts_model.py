"""`lyc hosts check NAME MODEL`: the planner's answer for the host as it is now, as one more check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lyc.errors import LycError, NoFit
from lyc.records.host import Check, CheckState
from lyc.units import GIB, show_bytes

if TYPE_CHECKING:
    from lyc.cli.plan_model import Planned
    from lyc.cli.session import Session
    from lyc.control.documents import CheckDocument, FactsDocument, HostDocument
    from lyc.inspection import Read
    from lyc.records.model import Listing, ModelRef
    from lyc.records.plan import HostFacts

_WORST_FIRST = [state.value for state in CheckState]


def checked(session: Session, host: HostDocument, model: str) -> HostDocument:
    """The document with the checks of this model in it. Raises what is wrong with the model itself."""
    facts = host["facts"]
    if facts is None:
        return host
    planned = _planned(session, model)
    added = [_fits(host, facts, planned, model), *_room(host, facts, planned, model)]
    checks = [check for check in host["checks"] if not (len(added) > 1 and check["name"] == "disk")]
    checks += [_document(check) for check in added]
    return {**host, "checks": sorted(checks, key=lambda check: _WORST_FIRST.index(check["state"]))}


def _fits(host: HostDocument, facts: FactsDocument, planned: Planned, model: str) -> Check:
    """What a deploy of the model would decide there now."""
    from lyc.engines import quantization
    from lyc.engines.versions import pinned
    from lyc.planning.host import plan
    from lyc.records.deployment import DeploymentSpec

    there = _host_facts(host["name"], facts)
    # Of cards that are held it is known by whom, and what is free of them was read just now.
    holders = {card: (replica["deployment"],) for replica in host["replicas"] for card in replica["gpus"] or ()}
    build = pinned(on_cpu=not there.accelerators)
    why = "a deploy plans the model on the memory that is free when it begins"
    try:
        quantization.check(None, planned.facts, there, build)
        spec = DeploymentSpec("check", model, host=host["name"])
        taken = dict.fromkeys(holders, 1)
        found = plan(spec, planned.facts, there, draft=None, build=build, taken=taken, holders=holders)
    except NoFit as problem:
        found_words = f"{model} does not fit: {problem}"
        return Check(
            "model", CheckState.FAILED, found_words, why, problem.hint.partition("\n")[0] or f"lyc plan {model}"
        )
    cards = f"{found.accelerator_count} × {found.accelerator}" if there.accelerators else "the CPU"
    cards += f" (--gpus {','.join(map(str, found.devices))})" if found.devices else ""
    room = f", {show_bytes(found.memory_bytes)} each" if found.memory_bytes else ""
    length = f", context {found.max_model_len}" if found.max_model_len else ""
    state = CheckState.WARNING if found.warnings else CheckState.PASSED
    words = "; ".join((f"{model} on {cards}{room}{length}", *found.warnings))
    return Check("model", state, words, why, f"lyc plan {model} -v" if found.warnings else "")


def _room(host: HostDocument, facts: FactsDocument, planned: Planned, model: str) -> list[Check]:
    """Room for the weights; beside the engine, which may be there already."""
    from lyc.cli.hosts_view import room

    weights, place = planned.weights, room(facts)
    if not weights or place is None or place["free"] >= weights + 2 * GIB:
        return []
    found = f"{show_bytes(place['free'])} free in {place['path']}"
    remedy = f"lyc hosts ssh {host['name']} -- 'du -xhd 2 {place['path']} | sort -h | tail'"
    if host["prepared"]:
        remedy = f"lyc hosts prune {host['name']} --dry-run"
    return [Check("weights", CheckState.FAILED, found, f"{model} is {show_bytes(weights)} large", remedy)]


def _planned(session: Session, model: str) -> Planned:
    from lyc.cli.plan_model import find

    def look_at(ref: ModelRef) -> tuple[Listing, Read]:
        from lyc.cli.credentials import needed
        from lyc.records.deployment import DeploymentSpec
        from lyc.records.secret import Secret
        from lyc.wiring import look

        wanted = needed(DeploymentSpec("check", str(ref)), os.environ)
        secrets = {name: Secret(text) for name, text in wanted.items()}
        return look(session.settings, ref, credentials=secrets, s3_endpoint=None)

    try:
        return find(model, None, look_at, cwd=Path.cwd())
    except LycError as problem:
        problem.where = problem.where or "MODEL"
        raise


def _host_facts(name: str, facts: FactsDocument) -> HostFacts:
    """As the planner takes them: see `lyc.planning.host.host_facts`."""
    from lyc.cli.hosts_view import room
    from lyc.records.plan import Accelerator, HostFacts

    place = room(facts)
    return HostFacts(
        name=name,
        os=facts["os"],
        machine=facts["machine"],
        cpus=facts["cpus"] or 1,
        memory_total=facts["memory_total"] or 0,
        memory_available=facts["memory_available"] or 0,
        disk_free=place["free"] if place else 0,
        cpu_flags=frozenset(facts["cpu_flags"]),
        accelerators=tuple(Accelerator(**card) for card in facts["accelerators"]),
        driver=facts["driver"],
    )


def _document(check: Check) -> CheckDocument:
    return {
        "name": check.name,
        "state": check.state.value,
        "found": check.found,
        "why": check.why,
        "remedy": check.remedy,
    }
