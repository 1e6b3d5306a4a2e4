"""May this host serve? One table of checks over the facts of one look, before anything is downloaded. Pure.

Each check says what was found, what hangs on it, and, unless it passed, what to type. A host without NVIDIA cards is
held against the engine's CPU build.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lyc.engines import preflight_cards, preflight_system
from lyc.engines.versions import pinned
from lyc.errors import Failed
from lyc.records.host import Check, CheckState, RemoteFacts
from lyc.records.plan import EngineBuild

_ORDER = list(CheckState)
_PLANNED = frozenset({"gpu-memory"})
"""What a plan says better, with the model's own figures, and the replicas that will go left out."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is to run there.

    weights: bytes that are still to be fetched; model: its name, for the texts. engine: None = what suits the host.
    installed: the engine is there already. container: it comes as an image.
    """

    weights: int = 0
    model: str = ""
    engine: EngineBuild | None = None
    installed: bool = False
    container: bool = False


def engine_for(facts: RemoteFacts) -> EngineBuild:
    """The build that would run there: the one for CUDA as soon as an NVIDIA card is seen, driver or not."""
    return pinned(on_cpu=not facts.accelerators and not facts.gpus_seen and facts.gpu_problem is None)


def preflight(name: str, facts: RemoteFacts, needs: Needs = Needs()) -> tuple[Check, ...]:
    """Every check, the worst first, else in the order in which one would mend them.

    name: of the host, as it stands in the commands to type.
    """
    build = needs.engine or engine_for(facts)
    rows: list[Callable[[], Iterator[Check]]] = [partial(preflight_system.system, facts)]
    if not needs.container:
        rows.append(partial(preflight_system.libc, facts))
    if needs.engine is None or not build.on_cpu:
        rows += [
            partial(preflight_cards.cards, facts),
            partial(preflight_cards.driver, facts, build),
            partial(preflight_cards.capability, facts),
            partial(preflight_cards.busy, facts),
            partial(preflight_cards.split, facts),
        ]
    if needs.container:
        rows.append(partial(preflight_system.runtime, facts, build))
    rows += [
        partial(preflight_system.processor, facts, build),
        partial(preflight_system.memory, facts),
        partial(preflight_system.home, facts),
        partial(preflight_system.disk, facts, build, needs.weights, needs.model, needs.installed),
    ]
    if not needs.container:
        rows.append(partial(preflight_system.tools, facts, build))
    rows += [
        partial(preflight_system.rights, facts),
        partial(preflight_system.supervision, facts),
        partial(preflight_system.clock, facts),
        partial(preflight_system.reach, facts),
    ]
    found = [replace(check, remedy=typed(name, check.remedy)) for row in rows for check in row()]
    return tuple(sorted(found, key=lambda check: _ORDER.index(check.state)))


def refuse(name: str, checks: Sequence[Check]) -> None:
    """Before a deploy: raises Failed `host-unfit` with every check that has failed and its remedy.

    Whether the cards have room is left to the plan.
    """
    failed = [check for check in checks if check.state is CheckState.FAILED and check.name not in _PLANNED]
    if not failed:
        return
    first, many = failed[0], len(failed) > 1
    raise Failed(
        "host-unfit",
        f"{name} cannot run the engine: {first.name}: {first.found}",
        why=first.why,
        where=name,
        hint=f"lyc hosts check {name} tells all of it" if many or not first.remedy else first.remedy,
        detail=tuple(f"{check.name}: {check.found}" + (f" → {check.remedy}" * bool(check.remedy)) for check in failed),
    )


def typed(name: str, remedy: str) -> str:
    """A remedy as its reader types it: `$ df -h`, a command on the host, becomes one of ours that runs it there."""
    command = remedy.removeprefix("$ ")
    if command == remedy:
        return remedy
    plain = shlex.join(command.split()) == command  # no pipe, no quotes, nothing that the shell here would take
    return f"lyc hosts ssh {name} -- {command if plain else shlex.quote(command)}"


def verdict(checks: tuple[Check, ...]) -> CheckState:
    """The worst of them."""
    return min((check.state for check in checks), key=_ORDER.index, default=CheckState.UNKNOWN)
