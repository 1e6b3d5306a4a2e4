"""`lyc scale NAME`: how many replicas there are and why, or how many there shall be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lyc.cli.changing import DryRun, asked, foretold, path
from lyc.cli.options import Json, Name, duration, existing, places
from lyc.cli.session import open_session
from lyc.errors import UsageError
from lyc.units import show_duration

if TYPE_CHECKING:
    from lyc.cli.output import Output
    from lyc.control.scale_documents import ScaleDocument

EXAMPLES = """
lyc scale support-8b
lyc scale support-8b --min 0 --max 4 --idle 15m
lyc scale support-8b --target-concurrency 16
lyc scale support-8b --schedule "Mon-Fri 07-22 Europe/Berlin min=1"
lyc scale support-8b --max 4 --host gpu2 --host gpu3
lyc scale support-8b --max 8 --dry-run
lyc scale support-8b --json | jq .why
"""
_STEPS = {"asleep": "asleep:", "stopped": "stopped:", "released": "given back:", "new": "first start:"}


def scale(
    context: typer.Context,
    name: Name,
    *,
    minimum: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Replicas always there; 0: none while nobody asks.")
    ] = None,
    maximum: Annotated[int | None, typer.Option("--max", metavar="N", help="Replicas at most.")] = None,
    target_concurrency: Annotated[
        str | None,
        typer.Option(
            "--target-concurrency",
            metavar="N",
            help="Requests that a replica shall have in flight; auto: 75 % of what its plan says it can hold.",
        ),
    ] = None,
    idle_sleep: Annotated[
        str | None,
        typer.Option(
            "--idle-sleep", metavar="TIME", help="An engine sleeps after so long without a request; never: none does."
        ),
    ] = None,
    idle: Annotated[
        str | None,
        typer.Option(
            "--idle-stop", "--idle", metavar="TIME", help="Its engines stop after so long without a request, or never."
        ),
    ] = None,
    idle_release: Annotated[
        str | None,
        typer.Option(
            "--idle-release", metavar="TIME", help="Its rented machine is given back after so long, or never."
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option("--schedule", metavar="RULE", help="Other bounds at some hours; repeatable. It replaces all."),
    ] = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="The same bounds at all hours.")] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Where replicas may run that have no room where it was deployed to: a host, any or rent; repeatable."
            " It replaces all.",
            autocompletion=places,
        ),
    ] = None,
    no_host: Annotated[bool, typer.Option("--no-host", help="All replicas where it was deployed to.")] = False,
    wake_timeout: Annotated[
        str | None,
        typer.Option("--wake-timeout", metavar="TIME", help="How long a request waits for a deployment that wakes."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Show how many replicas run and why, or change that.

    The bounds belong to the deployment: a new release keeps them. A rule of the schedule is DAYS HOURS ZONE and min=N,
    max=N or both.
    """
    if host and no_host:
        raise UsageError("contradictory-hosts", "--host and --no-host", hint="leave one of them out")
    if schedule and no_schedule:
        raise UsageError("contradictory-schedule", "--schedule and --no-schedule", hint="leave one of them out")
    wished: dict[str, object] = {
        "min": minimum,
        "max": maximum,
        "wake_timeout": duration(wake_timeout, "--wake-timeout"),
        "schedule": [] if no_schedule else schedule or None,
        "hosts": [] if no_host else host or None,
    }
    wished = {key: value for key, value in wished.items() if value is not None}
    steps = (("idle_sleep", idle_sleep), ("idle", idle), ("idle_release", idle_release))
    wished |= {key: _step(key, text) for key, text in steps if text is not None}
    if target_concurrency is not None:
        wished["target_concurrency"] = _target(target_concurrency)
    if dry_run and not wished:
        raise UsageError(
            "nothing-to-change", "--dry-run of what?", where="--dry-run", hint=f"lyc scale {name} --max 4 --dry-run"
        )
    session = open_session(context, as_json=as_json)
    client, output = existing(session, name), session.output
    if wished:
        change = asked(client, name, "scale", method="PATCH", **wished, dry_run=dry_run)
        if dry_run:
            foretold(output, change)
            return
        output.done(f"{name}: {', '.join(change['changes'])}" if change["changed"] else f"{name} is so already")
    found = cast("ScaleDocument", client.call("GET", path(name, "scale")))
    output.answer(dict(found), _text(output, found, time.time()))


def _step(key: str, text: str) -> float | None:
    """Seconds, None = never."""
    if text.strip().lower() == "never":
        return None
    return duration(text, "--idle-stop" if key == "idle" else f"--{key.replace('_', '-')}")


def _target(text: str) -> float | None:
    if text.strip().lower() == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            "invalid-value",
            f"{text!r} is not a number of requests",
            where="--target-concurrency",
            hint="--target-concurrency 16, or auto",
        ) from None


def _text(output: Output, found: ScaleDocument, now: float) -> str:
    policy, bounds = found["policy"], found["bounds"]
    facts = [
        ("replicas", f"{found['ready']} of {found['desired']} ready (min {bounds['min']}, max {bounds['max']})"),
        ("why", "paused: lyc resume " + found["name"] if found["paused"] else found["why"] or "-"),
        ("target", _aim(found)),
        ("idle", _idle(found, now)),
        ("schedule", _schedule(found, now)),
        ("wake", _wake(found)),
    ]
    if found["policy"].get("hosts"):
        facts.append(("hosts", f"also on {', '.join(found['policy']['hosts'])}"))
    if (error := found.get("homeless")) is not None:
        facts.append(("no host", str(error.get("what"))))
    if found["canary"] is not None:
        facts.append(("canary", f"{found['canary']:.3g} of the requests to release {found['release']}"))
    if (bounds["min"], bounds["max"]) != (policy["min"], policy["max"]):
        facts.insert(1, ("otherwise", f"min {policy['min']}, max {policy['max']}"))
    lines = [output.paint(found["name"], "bold"), *(f"  {key:<10} {value}" for key, value in facts)]
    lines += [f"{output.paint('warning', 'yellow')}: {text}" for text in found.get("warnings") or ()]
    rows = [
        (
            one["id"],
            str(one["release"]),
            one["state"],
            one["host"],
            show_duration(max(0.0, now - one["ready_at"])) if one["ready_at"] and one["state"] == "ready" else "-",
        )
        for one in found["replicas"]
    ]
    if rows:
        lines += ["", output.table(("REPLICA", "RELEASE", "STATE", "HOST", "READY FOR"), rows)]
    return "\n".join(lines)


def _aim(found: ScaleDocument) -> str:
    if found["target"] is None:
        return "-"
    said = found["policy"]["target_concurrency"] is not None
    source = "as you said" if said else "75 % of what its plan can hold, or less if its engine bears less"
    return f"{found['target']:.4g} requests a replica, {source}"


def _idle(found: ScaleDocument, now: float) -> str:
    last = found["last_request"]
    seen = "none seen yet" if last is None else f"the last was {show_duration(max(0.0, now - last))} ago"
    if found["bounds"]["min"] > 0:
        return f"never at zero; {seen}"
    words = {"idle_sleep": "asleep", "idle": "stopped", "idle_release": "given back"}
    policy: dict[str, float | None] = {
        "idle_sleep": found["policy"]["idle_sleep"],
        "idle": found["policy"]["idle"],
        "idle_release": found["policy"]["idle_release"],
    }
    steps = [
        f"{word} after {show_duration(after)}" for key, word in words.items() if (after := policy[key]) is not None
    ]
    return f"{', '.join(steps) or 'never to zero'} without a request; {seen}"


def _schedule(found: ScaleDocument, now: float) -> str:
    rules, change = found["policy"]["schedule"], found["next_change"]
    if not rules:
        return "-"
    then = "" if change is None else f"; it changes in {show_duration(max(0.0, change - now))}"
    return "; ".join(rules) + then


def _wake(found: ScaleDocument) -> str:
    measured = "not measured yet" if found["wake"] is None else f"about {show_duration(found['wake'])}"
    rows = [f"{_STEPS[step]} {show_duration(seconds)}" for step, seconds in (found.get("wakes") or {}).items()]
    taken = f" ({', '.join(rows)})" if rows else ""
    return f"{measured}{taken}; a request waits {show_duration(found['policy']['wake_timeout'])} at most"
