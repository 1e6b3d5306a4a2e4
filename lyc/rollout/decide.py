"""desired × actual × now → actions. Pure and level-triggered: only what is true now counts, never what happened before.

One call makes each replica take at most one step; the loop calls again until nothing is left to do.
"""

from __future__ import annotations

from lyc.rollout.actions import Action, RemoveDeployment, Retarget
from lyc.rollout.doze import dozing
from lyc.rollout.follow import follow
from lyc.rollout.keep import kept, lacking
from lyc.rollout.release import settle
from lyc.rollout.situation import Policy, Situation
from lyc.rollout.steer import steer
from lyc.rollout.transitions import ENDED


def decide(situation: Situation, now: float, policy: Policy) -> tuple[Action, ...]:
    """The next step of every replica and release of one deployment. Empty when reality equals the wish."""
    stopping = situation.deployment.stopping
    # What it means is said first: stopping a process may take as long as its grace.
    settled = [] if stopping else settle(situation, now)
    if any(isinstance(action, Retarget) for action in settled):
        return tuple(settled)  # what is wanted is another thing from now on
    wanted, resting = kept(situation, now), dozing(situation, now)
    actions: list[Action] = []
    for replica in situation.replicas:
        seen = situation.look(replica)
        actions += follow(replica, seen, situation, now, policy) or steer(
            replica, seen, situation, now, policy, wanted=replica.id in wanted, dozes=replica.id in resting
        )
    if stopping:
        if not actions and all(replica.state in ENDED for replica in situation.replicas):
            actions.append(RemoveDeployment())
        return tuple(actions)
    return (*settled, *actions, *lacking(situation, now))
