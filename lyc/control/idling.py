"""What a deployment can do while nobody asks for it, by where it runs."""

from __future__ import annotations

from lyc.errors import NotFound
from lyc.records.host import LOCAL
from lyc.records.plan import Plan
from lyc.spec.scale import IdleSteps, steps_for
from lyc.store import Store


def steps_of(store: Store, host: str, plan: Plan) -> IdleSteps:
    """host: name of a machine that was decided on. One that is not known any more was rented."""
    return steps_for(own=own(store, host), cards=sleepable(plan))


def own(store: Store, host: str) -> bool:
    """Whether a machine is the user's."""
    if host == LOCAL:
        return True
    try:
        return store.host(host).host.own
    except NotFound:
        return False


def sleepable(plan: Plan) -> bool:
    """vLLM's sleep mode is for CUDA; on a CPU its `sleep` only says that it does nothing."""
    return not plan.engine.on_cpu
