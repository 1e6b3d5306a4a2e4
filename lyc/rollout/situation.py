"""What a decision rests on: desired state, actual state, the clock and the policy, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lyc.records.deployment import Deployment, Release, Replica


@dataclass(frozen=True, slots=True)
class Policy:
    """Numbers, in seconds.

    A replica that dies is started again after 1, 2, 4 … `backoff_longest`, at most `crash_limit` times in a row; a
    replica that was ready for `stable_after` has a clean slate. `settle` is how long a draining replica waits at
    least, so that a request which the gateway had already sent is counted before it is asked. A deployment whose
    replicas were all given up and that went to zero since may wake again after `wake_pause`, twice, four times …
    that, until `wake_limit` wakes in a row have failed. An engine that has not fallen asleep, or is not awake,
    `doze_limit` after it was told to is stopped, or started anew: the weights of the largest models are over the bus
    well before.
    """

    backoff_first: float = 1.0
    backoff_longest: float = 60.0
    crash_limit: int = 5
    stable_after: float = 120.0
    settle: float = 0.5
    stop_grace: float = 15.0
    wake_pause: float = 60.0
    wake_limit: int = 3
    doze_limit: float = 180.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica as the world shows it just now.

    process: `absent | running | exited | unknown` (its host cannot be asked). loading, listening, proven: what its
    log, its health route and a real completion say. in_flight: requests at the gateway, None = not known. failure:
    document of the error, once the process has ended, runs but answers no more or wrongly (`running`), or its host
    cannot be asked (`unknown` without it: the host has not been heard yet).
    starts: how often its host has started it; gave_up: it has ended, and its host, which starts engines again by
    itself, has done so in vain as often as makes sense. rebooted: it has ended with its host. sleeping: what an
    engine that can sleep says, None = it was not asked, or did not answer.
    """

    process: str
    loading: bool = False
    listening: bool = False
    proven: bool = False
    in_flight: int | None = None
    failure: dict[str, object] | None = None
    starts: int = 1
    gave_up: bool = False
    rebooted: bool = False
    sleeping: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A host where replicas of one release may be: all that they need is there. room: how many more fit there beside
    all that is there now; counted only while a replica is lacking, else 0. cost: of the machine for an hour, in euros;
    0 = it is the user's own. holds: whether the weights are there.
    """

    release: int
    host: str
    room: int = 0
    cost: float = 0.0
    holds: bool = True


def target_of(deployment: Deployment, releases: Iterable[Release]) -> Release | None:
    """Of its releases, the one that shall serve."""
    return next((release for release in releases if release.number == deployment.target), None)


@dataclass(frozen=True, slots=True)
class Situation:
    """One deployment, complete. seen: by replica id. leaving: hosts that their owner takes back, as it has said.
    desired: replicas that its target shall have now, None = as its scaler has decided last.
    places: where its replicas may be, by release and host. A release without any has the host that it was deployed to,
    and room there is not counted. lost: ids of replicas whose host has been silent for so long that others shall serve
    in their stead, where they can. expansion: where one more host may be looked for now: among
    those that are known, or only by renting one; or it is looked for already.
    waiting: ids of replicas that would start or wake, but their cards are another deployment's for now.
    """

    deployment: Deployment
    releases: tuple[Release, ...]
    replicas: tuple[Replica, ...]
    seen: dict[str, Seen] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    desired: int | None = None
    places: tuple[Place, ...] = ()
    lost: frozenset[str] = frozenset()
    expansion: Literal["none", "known", "rented", "under way"] = "none"
    waiting: frozenset[str] = frozenset()

    @property
    def target(self) -> Release | None:
        """The release that shall serve."""
        return self.release(self.deployment.target)

    def release(self, number: int | None) -> Release | None:
        return next((release for release in self.releases if release.number == number), None)

    def of(self, number: int) -> list[Replica]:
        """The replicas of one release."""
        return [replica for replica in self.replicas if replica.release == number]

    def places_of(self, number: int) -> list[Place]:
        """Where replicas of one release may be; empty = on its own host, as many as there shall be."""
        return [place for place in self.places if place.release == number]

    def look(self, replica: Replica) -> Seen:
        return self.seen.get(replica.id, Seen("absent"))
