"""May this host serve? One table of checks over the facts of one look, before anything is downloaded. Pure.

Each check says what was found, what hangs on it, and, unless it passed, what to type. A host without NVIDIA cards is
held against the engine's CPU build.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from lyc.engines import preflight_cards, preflight_system
from lyc.engines.versions import pinned
from lyc.records.host import Check, CheckState, RemoteFacts
from lyc.records.plan import EngineBuild

_ORDER = list(CheckState)


@dataclass(frozen=True, slots=True)
class Needs:
    """What is to run there, beyond the engine. weights: bytes on disk; model: its name, for the texts."""

    weights: int = 0
    model: str = ""


def engine_for(facts: RemoteFacts) -> EngineBuild:
    """The build that would run there: the one for CUDA as soon as an NVIDIA card is seen, driver or not."""
    return pinned(on_cpu=not facts.accelerators and not facts.gpus_seen and facts.gpu_problem is None)


def preflight(name: str, facts: RemoteFacts, needs: Needs = Needs()) -> tuple[Check, ...]:
    """Every check, the worst first, else in the order in which one would mend them.

    name: of the host, as it stands in the commands to type.
    """
    build = engine_for(facts)
    rows: tuple[Callable[[], Iterator[Check]], ...] = (
        partial(preflight_system.system, facts),
        partial(preflight_system.libc, facts),
        partial(preflight_cards.cards, facts),
        partial(preflight_cards.driver, facts, build),
        partial(preflight_cards.capability, facts),
        partial(preflight_cards.busy, facts),
        partial(preflight_cards.split, facts),
        partial(preflight_system.processor, facts, build),
        partial(preflight_system.memory, facts),
        partial(preflight_system.home, facts),
        partial(preflight_system.disk, facts, build, needs.weights, needs.model),
        partial(preflight_system.tools, facts, build),
        partial(preflight_system.rights, facts),
        partial(preflight_system.supervision, facts),
        partial(preflight_system.clock, facts),
        partial(preflight_system.reach, facts),
    )
    found = [replace(check, remedy=typed(name, check.remedy)) for row in rows for check in row()]
    return tuple(sorted(found, key=lambda check: _ORDER.index(check.state)))


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
