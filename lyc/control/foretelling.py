"""`lyc deploy --dry-run`: all that a deploy would do, in its order, and nothing of it done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lyc.control.called_off import taken_down
from lyc.control.deploy import check_name, check_said_steps, held_by
from lyc.control.deps import Deps
from lyc.control.idling import steps_of
from lyc.control.intent import Intent
from lyc.control.operations import Unheard
from lyc.control.preparation import Foretold, Preparation
from lyc.control.renting import Renter
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import RENT
from lyc.records.secret import Secret
from lyc.spec.scale import IdleSteps, steps_for


class _Warned(Unheard):
    """Keeps what would be warned of."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


class Foreteller:
    """Looks at sources, hosts and offers as a deploy does, and changes nothing."""

    def __init__(self, deps: Deps, renter: Renter) -> None:
        self._deps = deps
        self._renter = renter

    def deploy(
        self,
        spec: DeploymentSpec,
        credentials: Mapping[str, Secret],
        *,
        name_given: bool,
        offer: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """`ForetoldDocument`. Raises what the deploy would raise before it has rented, fetched or started anything."""
        store, talk = self._deps.store, _Warned()
        there = store.find_deployment(spec.name)
        if there is not None and there.stopping:
            raise taken_down(spec.name)
        check_name(store, spec, given=name_given)
        if spec.host == RENT:
            self._deps.accounts.hear(credentials)
            check_said_steps(spec, steps_for(own=False, cards=True))
        preparation = Preparation(
            self._deps, self._renter, spec, credentials, talk, freed=held_by(store, spec.name), offer=offer, dry=True
        )
        found = preparation.foretold()
        steps = _idle_steps(self._deps, found)
        if found.prepared is not None:
            check_said_steps(spec, steps)
        return self._document(Intent(self._deps, spec, found, steps, there), talk.said)

    def _document(self, intent: Intent, warnings: list[str]) -> dict[str, Any]:
        what, steps = intent.changes(), tuple(intent.steps())
        plan, offer = intent.plan, intent.offer
        return {
            "name": intent.spec.name,
            "dry_run": True,
            "changed": bool(what),
            "changes": list(what),
            "steps": [asdict(one) for one in steps],
            "release": intent.number,
            "operation": None,
            "model": str(intent.found.model.listing.ref),
            "host": intent.host,
            "gpu": plan.accelerator if plan else (offer.card or offer.product if offer else None),
            "engine": plan.engine.id if plan else None,
            "max_model_len": plan.max_model_len if plan else None,
            "rent": None if offer is None else asdict(offer) | {"per_hour": str(offer.per_hour)},
            "warnings": warnings,
        }


def _idle_steps(deps: Deps, found: Foretold) -> IdleSteps:
    prepared = found.prepared
    if prepared is None:
        return steps_for(own=False, cards=True)
    return steps_of(deps.store, prepared.spec.host, prepared.plan)
