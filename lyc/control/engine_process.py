"""The process of one replica: what its engine is started with, on the host that it is on."""

from __future__ import annotations

import logging
from pathlib import Path

from lyc.control.deps import Deps
from lyc.control.host_plans import placed, plan_on
from lyc.control.layout import attempt_directory, engine_key
from lyc.engines import compiled, vllm
from lyc.errors import EngineFailed
from lyc.ports import Site
from lyc.records.deployment import CONTAINER, Release, Replica
from lyc.records.engine import EngineTarget
from lyc.records.process import ProcessSpec

log = logging.getLogger(__name__)


def process_of(deps: Deps, replica: Replica, release: Release | None, site: Site) -> ProcessSpec:
    """Raises EngineFailed `weights-missing`, and what the host raises."""
    name = replica.deployment
    model = site.cache.use(release.snapshot) if release else None
    if release is None or model is None:
        raise EngineFailed(
            "weights-missing",
            f"the weights of {name} are no longer in the cache of {site.name}",
            hint=f"fetch them again: lyc deploy {release.model if release else '…'} --name {name}",
        )
    placements = deps.store.placements.list(name)
    plan, contained = plan_on(release, replica.host, placements), release.spec.runtime == CONTAINER
    elsewhere = placed(placements, release.number, replica.host) if replica.host != release.spec.host else None
    directory = attempt_directory(deps.settings, replica)
    socket = Path(replica.socket)
    socket.unlink(missing_ok=True)
    shared = site.compiled / plan.engine.id
    command = vllm.command(
        plan,
        EngineTarget(
            bin_dir=None if contained else site.installer.install(plan.engine, log.info),
            work_dir=site.folder(directory),
            model_path=model,
            socket=site.socket(socket),
            served_name=name,
            key=engine_key(deps.settings, name),
            draft_path=Path(plan.speculative_model) if plan.speculative_model else None,
            cache_dir=shared,
            own_cache_dir=compiled.folder(shared, release.snapshot, plan),
            sleeps=replica.sleeps and not plan.engine.on_cpu,
        ),
        site.environ,
    )
    return ProcessSpec(
        replica.id, directory, command.argv, command.env, command.files,
        socket=socket, devices=() if contained and plan.engine.on_cpu else replica.devices,
        image=elsewhere.image if elsewhere else release.spec.image,
    )  # fmt: skip
