"""How many replicas, and when: what a user may write, and the policy that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from lyc.errors import LycError, SpecError
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import RENT
from lyc.records.scaling import DOZE_AFTER, RELEASE_AFTER, ScalePolicy, ScheduleRule
from lyc.spec.schedule import parse_schedule
from lyc.units import parse_duration

MOST_REPLICAS = 64
MOST_IN_FLIGHT = 100_000.0
LONGEST = 366 * 86400.0
"""Of any span here; beyond it lies a slip of the pen."""


def parse_share(text: str) -> float:
    """`10%` or `0.1` → 0.1. Raises ValueError with the accepted forms."""
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is not a share of the requests: write it like 10%, more than 0% and less than 100%")
    return share


def parse_span(text: str) -> float:
    """`15m` → 900.0, a second at least. Raises ValueError with the accepted forms."""
    seconds = parse_duration(text)
    if not 1 <= seconds <= LONGEST:
        raise ValueError(f"{text!r} is too {'short' if seconds < 1 else 'long'}: it takes from 1s to 366d")
    return seconds


def parse_idle(text: str) -> float:
    """As `parse_span`; `never` is `math.inf`."""
    return math.inf if text.strip().lower() in ("never", "inf") else parse_span(text)


def parse_target(text: str) -> float:
    """`16` → 16.0. Raises ValueError with the accepted forms."""
    try:
        target = float(text)
    except ValueError:
        target = math.nan
    if not 0 < target <= MOST_IN_FLIGHT:
        raise ValueError(f"{text!r} is not a number of requests: write it like 16, more than 0")
    return target


def rules(texts: Sequence[str]) -> tuple[ScheduleRule, ...]:
    """Raises SpecError for the first that cannot be read."""
    return tuple(parse_schedule(text) for text in texts)


@dataclass(frozen=True, slots=True)
class IdleSteps:
    """What a kind of host can do for one that idles, and after how long it does where nobody says: seconds. None = it
    cannot.
    """

    sleep: float | None = None
    release: float | None = None


def steps_for(*, own: bool, cards: bool) -> IdleSteps:
    """own: the user's, not rented. cards: its engines run on them; those of a CPU cannot sleep."""
    return IdleSteps(DOZE_AFTER if own and cards else None, None if own else RELEASE_AFTER)


def policy_of(spec: DeploymentSpec, before: ScalePolicy | None = None, steps: IdleSteps | None = None) -> ScalePolicy:
    """The policy that a deploy asks for. before: of the deployment so far, None = it is new. What the spec does not say
    stays as it is there, but that one bound gives way to the other where that one was said. steps: of its host, None =
    not known yet; a step that the host cannot do falls away where it was not said.
    """
    wish, policy = spec.scale, before or ScalePolicy(spec.min_replicas, spec.max_replicas)
    usual = steps or IdleSteps()
    lowest = policy.minimum if wish.minimum is None else wish.minimum
    most = policy.maximum if wish.maximum is None else wish.maximum
    if lowest > most:
        lowest, most = (lowest, lowest) if wish.maximum is None else (most, most)
    if spec.gpus is not None:  # the cards of one replica
        lowest, most = min(lowest, 1), 1
    return replace(
        policy,
        minimum=lowest,
        maximum=most,
        target_concurrency=policy.target_concurrency if wish.target_concurrency is None else wish.target_concurrency,
        idle=policy.idle if wish.idle is None else _never(wish.idle),
        schedule=policy.schedule if wish.schedule is None else wish.schedule,
        wake_timeout=policy.wake_timeout if wish.wake_timeout is None else wish.wake_timeout,
        idle_sleep=_step(wish.idle_sleep, before, policy.idle_sleep, steps, usual.sleep),
        idle_release=_step(wish.idle_release, before, policy.idle_release, steps, usual.release),
        hosts=policy.hosts if wish.hosts is None else wish.hosts,
    )


def with_machines(policy: ScalePolicy) -> ScalePolicy:
    """The policy of a deployment on a rented machine: where it may have several replicas, and no host is named for it,
    one more machine is rented for each that has no room.
    """
    most = max([policy.maximum, *(rule.maximum for rule in policy.schedule if rule.maximum is not None)])
    return replace(policy, hosts=(RENT,) if most > 1 else ()) if policy.hosts in ((), (RENT,)) else policy


def _step(
    said: float | None, before: ScalePolicy | None, so_far: float | None, steps: IdleSteps | None, usual: float | None
) -> float | None:
    if said is not None:
        return _never(said)
    if before is None:
        return usual
    return so_far if steps is None or usual is not None else None


def _never(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def check_steps(*, sleep: float | None, release: float | None, steps: IdleSteps, where: Callable[[str], str]) -> None:
    """Raises SpecError `impossible-step` for a step that was asked for where the host cannot do it. sleep, release:
    seconds as said, None or `math.inf` = not asked for. where: key (`idle_sleep`, `idle_release`) → its place.
    """
    if sleep is not None and not math.isinf(sleep) and steps.sleep is None:
        raise SpecError(
            "impossible-step",
            "its engines cannot sleep",
            why="only one on NVIDIA cards of your own can: a CPU has no memory to give back, and a rented machine "
            "costs the same asleep",
            where=where("idle_sleep"),
            hint="leave it out, or say after how long it stops: --idle-stop 15m",
        )
    if release is not None and not math.isinf(release) and steps.release is None:
        raise SpecError(
            "impossible-step",
            "there is no machine to give back",
            why="it runs on a machine of your own",
            where=where("idle_release"),
            hint="leave it out, or say after how long it stops: --idle-stop 15m",
        )


def check_policy(policy: ScalePolicy, *, cards: Sequence[int] | None, where: Callable[[str], str]) -> None:
    """Raises SpecError `impossible-scale` for bounds that cannot be kept. cards: of the one replica, where the user has
    named them. where: key (`min`, `max`, `schedule`) → its place.
    """
    lowest, most = policy.minimum, policy.maximum
    if lowest < 0 or most > MOST_REPLICAS or most < 1:
        raise _impossible(
            f"min is {lowest} and max is {most}: they take 0 to {MOST_REPLICAS}, max at least 1", where("max")
        )
    if lowest > most:
        raise _impossible(f"min is {lowest}, but max is {most}", where("min"))
    if cards is not None and most > 1:
        raise _impossible(f"the cards {_list(cards)} are those of one replica, but max is {most}", where("max"))
    for rule in policy.schedule:
        low = lowest if rule.minimum is None else rule.minimum
        high = most if rule.maximum is None else rule.maximum
        if high > MOST_REPLICAS:
            raise _impossible(f"max is {high} in {rule.text!r}, and can be {MOST_REPLICAS}", where("schedule"))
        if low > high:
            raise _impossible(f"in the hours of {rule.text!r} min is {low}, but max is {high}", where("schedule"))
        if cards is not None and high > 1:
            raise _impossible(
                f"the cards {_list(cards)} are those of one replica, but {rule.text!r} has max {high}",
                where("schedule"),
            )


def _impossible(what: str, where: str) -> SpecError:
    return SpecError("impossible-scale", what, where=where)


def _list(cards: Sequence[int]) -> str:
    return ",".join(map(str, cards))


def _read(kind: str, parse: Callable[[str], object]) -> Callable[[object], object]:
    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return value
        try:
            return parse(str(value))
        except ValueError as problem:
            raise PydanticCustomError(kind, "{why}", {"why": str(problem)}) from problem

    return read


def _schedule(value: object) -> object:
    """One rule is a list of one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return value
    try:
        rules(texts)
    except LycError as problem:
        raise PydanticCustomError(
            "schedule", "{why}", {"why": f"{problem.why or problem.what}; {problem.hint}"}
        ) from problem
    except ValueError as problem:
        raise PydanticCustomError("schedule", "{why}", {"why": str(problem)}) from problem
    return texts


Share = Annotated[float, BeforeValidator(_read("share", parse_share), json_schema_input_type=str | float)]
Duration = Annotated[float, BeforeValidator(_read("duration", parse_span), json_schema_input_type=str | float)]
Idle = Annotated[float, BeforeValidator(_read("duration", parse_idle), json_schema_input_type=str | float)]
Target = Annotated[float, BeforeValidator(_read("target", parse_target), json_schema_input_type=float)]
Schedule = Annotated[list[str], BeforeValidator(_schedule, json_schema_input_type=list[str] | str)]
