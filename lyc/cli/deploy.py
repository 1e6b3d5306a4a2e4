"""`lyc deploy`: say what is wished, watch it come true, prove it with one real request, print URL and key."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import quote

import typer

from lyc.cli.changing import DryRun
from lyc.cli.hosts_add import checked_fingerprint, host_known, host_of
from lyc.cli.offers import chosen, place_of, with_own
from lyc.cli.options import AcceptHostKey, Json, Providers, duration, places
from lyc.cli.session import Session, open_session
from lyc.errors import Interrupted, Pending
from lyc.records.host import RENT

if TYPE_CHECKING:
    from lyc.cli.proof import Proof
    from lyc.control.documents import DeployResult, NewKeyDocument
    from lyc.control.scale_documents import ForetoldDocument
    from lyc.records.deployment import DeploymentSpec

EXAMPLES = """
lyc deploy sample:smollm2-135m
lyc deploy acme/support-8b --gpu h100 --max-model-len 8k
lyc deploy ./merged-model --name support --env HF_HUB_OFFLINE=1
lyc deploy s3://models/support-8b --s3-endpoint https://s3.example.eu
lyc deploy acme/support-8b --speculative draft_model:acme/draft-1b,tokens=4
lyc deploy acme/support-8b --host ssh://ubuntu@gpu1.example.eu
lyc deploy acme/support-8b --host gpu1 --gpus 0,1
lyc deploy acme/support-8b --host gpu1 --host gpu2 --min 2 --max 4
lyc deploy acme/support-8b --host gpu1 --image vllm/vllm-openai:v0.32.0
lyc deploy acme/support-8b --gpu h100 --residency eu --max-price 3EUR --ttl 8h
lyc deploy acme/support-8b --provider lyceum --gpu l40s --yes
lyc deploy acme/support-8b --min 0 --max 4 --idle 15m
lyc deploy ./merged-model-2 --name support --canary 10%
lyc deploy ./merged-model-2 --name support --dry-run
lyc deploy -f lyc.toml --json
"""
FORETELL_SECONDS = 300.0
"""Longest wait for what would be done: the model is inspected, hosts are looked at, providers asked."""


def deploy(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A folder, org/name[@revision], hf:org/name[@revision], s3://bucket/prefix or sample:NAME.",
        ),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read a lyc.toml; flags win over it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the deployment; default: the model's.")
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", metavar="CARD", help="auto, cpu, or a card such as h100.")] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Where: a host's name or address (user@box, ssh://user@box:22), any, rent, or local. Repeatable:"
            " further ones are for replicas that have no room on the first.",
            autocompletion=places,
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option("--gpus", metavar="LIST", help="Cards that it gets, such as 0,1. Default: the fewest free ones."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", metavar="process|container", help="How the engine runs on a host.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="REF", help="Image of the container, with a tag or digest. Default: vLLM's."),
    ] = None,
    accept: AcceptHostKey = None,
    provider: Providers = None,
    residency: Annotated[
        str | None,
        typer.Option("--residency", metavar="WHERE", help="Rent only there: eu, eea, or countries such as de,fi."),
    ] = None,
    sovereign: Annotated[
        bool, typer.Option("--sovereign", help="Rent only of owners that answer to no law outside the EEA.")
    ] = False,
    max_price: Annotated[
        str | None, typer.Option("--max-price", metavar="AMOUNT", help="Of a rented machine for an hour: 3.50EUR.")
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Rent also what the provider may take back at any time.")
    ] = False,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="TIME", help="Take everything down after 8h, whatever happens.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="AMOUNT", help="Of all rented machines: 50EUR/day; see lyc budget."),
    ] = None,
    ready_timeout: Annotated[
        str | None,
        typer.Option("--ready-timeout", metavar="TIME", help="Give a machine back that does not serve by then; 30m."),
    ] = None,
    disk: Annotated[
        str | None, typer.Option("--disk", metavar="SIZE", help="Disk of a rented machine; default: what is needed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the best offer without asking.")] = False,
    quantization: Annotated[
        str | None, typer.Option("--quantization", metavar="METHOD", help="Such as fp8; default: as the weights are.")
    ] = None,
    speculative: Annotated[
        str | None,
        typer.Option(
            "--speculative",
            metavar="METHOD[:MODEL][,tokens=N]",
            help="ngram, suffix, mtp, draft_model:MODEL, eagle:MODEL or eagle3:MODEL.",
        ),
    ] = None,
    max_model_len: Annotated[
        str | None, typer.Option("--max-model-len", metavar="TOKENS", help="Prompt and answer together: 8192 or 8k.")
    ] = None,
    minimum: Annotated[
        int | None, typer.Option("--min", metavar="N", help="Replicas always there; 0: none when idle. Default 1.")
    ] = None,
    maximum: Annotated[int | None, typer.Option("--max", metavar="N", help="Replicas at most; default 1.")] = None,
    target_concurrency: Annotated[
        str | None,
        typer.Option(
            "--target-concurrency",
            metavar="N",
            help="Requests that a replica shall have in flight. Default: 75 % of what its plan can hold.",
        ),
    ] = None,
    idle_sleep: Annotated[
        str | None,
        typer.Option("--idle-sleep", metavar="TIME", help="Sleep after so long without a request; on own GPUs: 5m."),
    ] = None,
    idle: Annotated[
        str | None,
        typer.Option("--idle-stop", "--idle", metavar="TIME", help="Stop after 15m without a request, if --min is 0."),
    ] = None,
    idle_release: Annotated[
        str | None,
        typer.Option(
            "--idle-release", metavar="TIME", help="Give the rented machine back after 30m without a request, or never."
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option("--schedule", metavar="RULE", help="Other bounds at some hours; see lyc scale. Repeatable."),
    ] = None,
    wake_timeout: Annotated[
        str | None, typer.Option("--wake-timeout", metavar="TIME", help="How long a request waits for it to wake: 10m.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="PART", help="Give a new release only 10% at first; lyc promote.")
    ] = None,
    bake: Annotated[
        str | None,
        typer.Option("--bake", metavar="TIME", help="If a new release dies so soon, the one before it returns; 60s."),
    ] = None,
    engine_arg: Annotated[
        list[str] | None,
        typer.Option("--engine-arg", metavar="NAME=VALUE", help="Option of vLLM without its dashes; repeatable."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME[=VALUE]", help="Environment of the engine; NAME alone takes yours."),
    ] = None,
    s3_endpoint: Annotated[
        str | None, typer.Option("--s3-endpoint", metavar="URL", help="S3-compatible service, for s3:// models.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it serves, or exit 8 at once.")] = True,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="Stop waiting after 90s, 15m …, and exit 8.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Serve a model; get a URL and a key.

    A GPU that this machine does not have is rented, where a provider is configured (lyc providers). Doing it twice
    changes nothing; a changed wish makes a new release, and the old one serves until the new one is
    ready. The deploy goes on in the background if you stop watching it.
    """
    from lyc.cli.wish import pairs, variables, wished

    session = open_session(context, as_json=as_json)
    checked_fingerprint(accept)
    flags = {
        "model": model,
        "name": name,
        "gpu": gpu,
        "host": list(host or []),
        "gpus": gpus,
        "runtime": runtime,
        "image": image,
        "rent": {
            key: value
            for key, value in (
                ("providers", list(provider or [])),
                ("residency", residency),
                ("sovereign", sovereign),
                ("max_price", max_price),
                ("spot", spot),
                ("ttl", ttl),
                ("ready_timeout", ready_timeout),
                ("disk", disk),
            )
            if value
        },
        "quantization": quantization,
        "speculative": speculative,
        "max_model_len": max_model_len,
        "min": minimum,
        "max": maximum,
        "target_concurrency": target_concurrency,
        "idle": idle,
        "idle_sleep": idle_sleep,
        "idle_release": idle_release,
        "schedule": schedule or None,
        "wake_timeout": wake_timeout,
        "canary": canary,
        "bake": bake,
        "engine_args": pairs(engine_arg or [], "--engine-arg"),
        "env": variables(env or [], os.environ),
        "s3_endpoint": s3_endpoint,
    }
    seconds = duration(timeout, "--timeout")
    spec, name_given = wished(flags, file=file, cwd=Path.cwd(), environ=os.environ)
    said = host[0] if host else None
    where = place_of(session, spec, said=said)
    named = partial(host_known, session) if dry_run else partial(host_of, session, accept=accept)
    spec = with_own(spec, said=said) if where == RENT else replace(spec, host=named(where))
    if spec.scale.hosts:
        further = tuple(named(one) for one in spec.scale.hosts)
        spec = replace(spec, scale=replace(spec.scale, hosts=further))
    if dry_run:
        _foretell(session, spec, name_given)
        return
    if budget is not None:
        session.client().call("PUT", "/v1/budget", body={"budget": budget})
    offer = chosen(session, spec, ask=not yes) if where == RENT else None
    _Deploy(session, spec, name_given, wait, seconds, offer).run()


def _foretell(session: Session, spec: DeploymentSpec, name_given: bool) -> None:
    """Answer with all that would be done."""
    from lyc.cli.changing import foretold
    from lyc.cli.credentials import needed

    body = {"spec": asdict(spec), "credentials": dict(needed(spec, os.environ)), "name_given": name_given}
    session.output.say("looking, as a deploy would …")
    path = f"/v1/deployments/{quote(spec.name, safe='')}/foretell"
    found = cast("ForetoldDocument", session.client().call("POST", path, body=body, timeout=FORETELL_SECONDS))
    for warning in found["warnings"]:
        session.output.warn(warning)
    foretold(session.output, found)


@dataclass(frozen=True, slots=True)
class _Deploy:
    session: Session
    spec: DeploymentSpec
    name_given: bool
    wait: bool
    seconds: float | None
    offer: tuple[str, str] | None = None

    def run(self) -> None:
        """Exits 8 where nobody waits for the end."""
        from lyc.cli.credentials import needed
        from lyc.cli.follow import follow

        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        stored = False
        try:
            with self.session.progress() as progress:
                client = self.session.client(progress)
                credentials = needed(self.spec, os.environ)
                operation = client.deploy(
                    self.spec, credentials=credentials, name_given=self.name_given, offer=self.offer
                )
                stored = True
                if not self.wait:
                    self._leave(operation)
                result = cast("DeployResult", follow(self.session.client, operation, progress, deadline=deadline))
        except KeyboardInterrupt:
            raise self._interrupted(stored) from None
        except Pending as problem:
            problem.hint = problem.hint or self._next()
            raise
        self._finish(result)

    def _finish(self, result: DeployResult) -> None:
        from lyc.cli.follow import asked
        from lyc.cli.proof import prove

        name, connect = result["name"], self.session.client
        key = asked(connect, lambda client: client.create_key(name, label="default")) if result["first"] else None
        try:
            proof = prove(connect, result, key)
        except KeyboardInterrupt:
            proof = None  # the endpoint serves, and its key must not be lost
        except BaseException:
            if key is not None:  # nobody has seen it: the next deploy makes another
                made = key["id"]
                asked(connect, lambda client: client.revoke_key(name, made))
            raise
        self._show(result, key, proof)

    def _show(self, result: DeployResult, key: NewKeyDocument | None, proof: Proof | None) -> None:
        from lyc.cli.snippets import card
        from lyc.units import show_duration

        output = self.session.output
        secret = key["key"] if key else None
        document: dict[str, object] = {
            "name": result["name"],
            "state": "ready",
            "url": result["url"],
            "key": secret,
            "model": result["model"],
            "release": result["release"],
            "host": result["host"],
            "rented": result.get("rented"),
            "changed": result["changed"],
            "served_name": result["served_name"],
            "seconds": round(result["seconds"], 3),
            "proof": proof.document() if proof else None,
        }
        if proof:
            output.done(f"answered a {proof.kind} request in {show_duration(proof.seconds)}")
        if result["changed"]:
            output.done(f"{result['name']} is ready: release {result['release']}, {show_duration(result['seconds'])}")
        else:
            output.done(f"{result['name']} is as wished already: nothing was changed (release {result['release']})")
        if (rented := result.get("rented")) is not None:
            from lyc.cli.rented import price

            cost = price(rented, moment="%H:%M")
            output.done(f"{result['host']} costs {cost}; lyc down {result['name']} gives it back")
        if output.live and not output.as_json:
            output.say("")  # on a terminal talk and answer stand in one place
        output.answer(document, card(result, secret, kind=proof.kind if proof else "chat"))
        if key is not None:
            output.hint("the key is shown this once; lyc keys create makes another")
        else:
            output.hint(f"for a key: export LYC_KEY=$(lyc keys create {result['name']})")

    def _leave(self, operation: str) -> None:
        name = self.spec.name
        document = {"name": name, "state": "pending", "url": None, "key": None, "model": self.spec.model}
        output = self.session.output
        output.answer({**document, "release": None, "host": self.spec.host, "operation": operation}, "")
        output.say(f"the deploy of {name} goes on in the background")
        output.hint(self._next())
        raise typer.Exit(Pending.exit_code)

    def _interrupted(self, stored: bool) -> Interrupted:
        if not stored:
            return Interrupted("interrupted", "interrupted before anything was deployed")
        return Interrupted(
            "interrupted",
            "you stopped watching",
            why=f"the deploy of {self.spec.name} goes on in the background",
            hint=self._next(),
        )

    def _next(self) -> str:
        name = self.spec.name
        return (
            f"lyc status {name}     what it does now\n"
            f"lyc logs {name} -f    what the engine says\n"
            f"lyc down {name}       stop it"
        )
