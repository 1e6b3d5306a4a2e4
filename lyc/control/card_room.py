"""How much of the cards of a host several deployments can have, and who leaves them."""

from __future__ import annotations

from collections.abc import Sequence

from lyc.control.deps import Deps
from lyc.errors import NotFound
from lyc.planning.host import host_facts
from lyc.planning.host.cards import ALL_OF_IT
from lyc.records.deployment import Deployment
from lyc.records.host import LOCAL
from lyc.records.plan import HostFacts, Plan
from lyc.scaling import bounds
from lyc.units import GIB

CUDA_KEEPS = 0.985
"""Part of what nvidia-smi shows of a card that CUDA gives out."""
CONTEXT = int(0.51 * GIB)
"""Of each engine outside of what its plan counts: CUDA's context, as `lyc.planning.non_torch` has it."""


def takes(planned: Plan) -> int:
    """Bytes that an engine which is awake has of each of its cards."""
    return (planned.memory_bytes or ALL_OF_IT) + CONTEXT


def room(facts: HostFacts) -> dict[int, int]:
    """Bytes of each card that engines can have; where that is not known, all that one may want."""
    return {index: int(one.memory_total * CUDA_KEEPS) or ALL_OF_IT for index, one in enumerate(facts.accelerators)}


def seen(deps: Deps, host: str) -> HostFacts:
    """What is known of a host; only this machine is looked at for it. Raises NotFound `host-not-looked-at`."""
    if host == LOCAL:
        return deps.sites.site(LOCAL).probe.facts()
    facts = deps.store.host(host).facts
    if facts is None:
        raise NotFound("host-not-looked-at", f"{host} was never looked at", hint=f"lyc hosts check {host}")
    return host_facts(host, facts)


def may_be_at_zero(deployment: Deployment, now: float) -> bool:
    """Whether it leaves its cards when nobody asks for it: only from such ones they are taken."""
    return bounds(deployment.policy, now)[0] == 0


def words(cards: Sequence[int]) -> str:
    """`card 0`, `cards 0,1`."""
    return f"card {cards[0]}" if len(cards) == 1 else f"cards {','.join(map(str, cards))}"
