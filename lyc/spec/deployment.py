"""A deployment as its user writes it, by flags or in lyc.toml: checked, and made a `DeploymentSpec`.

What can be known without asking the machine or the model is checked here; the rest is for the planner and the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from lyc.errors import LycError, SpecError
from lyc.records.deployment import DeploymentSpec, Speculative
from lyc.records.host import ANY, LOCAL
from lyc.records.model import ModelRef
from lyc.records.scaling import ScaleWish
from lyc.spec.host_list import Hosts, host
from lyc.spec.image_ref import check_image
from lyc.spec.model_ref import default_name, parse_model
from lyc.spec.names import check_name
from lyc.spec.positions import nearest
from lyc.spec.rent import RentTable, rent_wish
from lyc.spec.scale import MOST_REPLICAS, Duration, Idle, Schedule, Share, Target, check_policy, policy_of, rules
from lyc.spec.speculative import SpeculativeTable, Written, as_table
from lyc.units import parse_tokens

_OF_KEYS = {"replicas": "min", "gpus": "gpus", "image": "image", "idle_stop": "idle_stop"}
"""Kinds of our own errors → the key at fault."""

Where = Callable[[tuple[str | int, ...]], str]
"""Path of a key → what to show as its place: a flag, or `lyc.toml:7`."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _tokens(value: object) -> object:
    """`"8k"` is a number of tokens as good as 8192."""
    if not isinstance(value, str):
        return value
    try:
        return parse_tokens(value)
    except ValueError as problem:
        raise PydanticCustomError("tokens", "{why}", {"why": str(problem)}) from problem


def _indices(value: object) -> object:
    """`"0,1"` is a list of cards as good as [0, 1]."""
    if not isinstance(value, str):
        return value
    words = [word.strip() for word in value.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise PydanticCustomError("gpus", "it takes numbers of cards as nvidia-smi shows them, such as 0,1")
    return [int(word) for word in words]


class FromEnvironment(Written):
    """A value that does not belong in a file: it is read from the environment of whoever deploys."""

    from_: str = Field(alias="from", min_length=1, description="Name of the environment variable to read.")


class DeploymentTable(Written):
    """lyc.toml: one deployment."""

    model: str = Field(
        min_length=1,
        description="The weights: a folder, hf:org/name[@revision], org/name, s3://bucket/prefix or sample:NAME."
        " A relative path is relative to the file.",
    )
    name: str | None = Field(None, description="Name of the deployment, a DNS label; left out: made from the model's.")
    gpu: Annotated[str, StringConstraints(to_lower=True, min_length=1)] = Field(
        "auto", description="auto, cpu, or the name of a card, such as h100."
    )
    host: Hosts = Field(
        default_factory=lambda: [LOCAL],
        min_length=1,
        description="Where it runs: the name of a host, its address (user@box, ssh://user@box:22), `local`, which is"
        " this machine, `any` known host, or `rent`, which is a machine to be rented. Of a list, the first is where it"
        " is deployed to; its further replicas go to the others where that has no room for them.",
    )
    gpus: Annotated[list[int] | None, BeforeValidator(_indices, json_schema_input_type=list[int] | str | None)] = Field(
        None, min_length=1, description="The cards of the host that it gets, by their numbers in nvidia-smi; left out:"
        " the fewest free ones that do.",
    )  # fmt: skip
    runtime: Literal["process", "container"] | None = Field(
        None, description="How the engine runs on a host: as a process, which is the default, or in a container."
    )
    image: str | None = Field(
        None, min_length=1, description="Image of the container, with a tag or a digest; left out: vLLM's own."
    )
    rent: RentTable = Field(
        default_factory=lambda: RentTable.model_validate({}), description="What may be rented, where host is `rent`."
    )
    quantization: str | None = Field(None, min_length=1, description="Such as fp8 or awq; left out: as the weights.")
    speculative: Annotated[
        SpeculativeTable | None, BeforeValidator(as_table, json_schema_input_type=SpeculativeTable | str | None)
    ] = Field(None, description="Speculative decoding, as a table or as METHOD[:MODEL][,tokens=N].")
    max_model_len: Annotated[int | None, BeforeValidator(_tokens, json_schema_input_type=int | str | None)] = Field(
        None, ge=1, description="Longest prompt and answer together, in tokens: 8192 or 8k; left out: what fits."
    )
    min: int = Field(1, ge=0, le=MOST_REPLICAS, description="Replicas that are always there; 0: none when idle.")
    max: int = Field(1, ge=1, le=MOST_REPLICAS, description="Replicas at most; at least `min`.")
    target_concurrency: Target | None = Field(
        None,
        description="Requests that a replica shall have in flight; left out: as many as its plan says it can hold.",
    )
    idle: Idle | None = Field(None, description="The same as idle_stop.")
    idle_sleep: Idle | None = Field(
        None,
        description="Without a request for so long one engine sleeps, its weights in the memory of the host, where min"
        " is 0: 5m, which is the default on cards of your own; elsewhere and with `never` none does.",
    )
    idle_stop: Idle | None = Field(
        None,
        description="Without a request for so long its engines stop, where min is 0: 15m, which is the default, or"
        " never.",
    )
    idle_release: Idle | None = Field(
        None,
        description="Without a request for so long a rented machine is given back, where min is 0: 30m, which is the"
        " default, or never.",
    )
    schedule: Schedule | None = Field(
        None, description="Other bounds at some hours, such as `Mon-Fri 07-22 Europe/Berlin min=1`."
    )
    wake_timeout: Duration | None = Field(
        None, description="How long a request waits for a deployment that wakes: 10m, which is the default."
    )
    canary: Share | None = Field(
        None, description="Share of the requests that a new release gets at first: 10%. Left out: all of them."
    )
    bake: Duration | None = Field(
        None, description="How long a new release is on probation: 60s, which is the default. If its engine ends"
        " meanwhile, the release before it serves again.",
    )  # fmt: skip
    s3_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Address of an S3-compatible service, for s3:// models."
    )
    engine_args: dict[str, str | bool | int | float | list[Any] | dict[str, Any]] = Field(
        default_factory=dict, description="Options of vLLM by their long names, without dashes in front."
    )
    env: dict[str, str | FromEnvironment] = Field(
        default_factory=dict, description="Environment of the engine. Secrets: NAME = { from = 'VARIABLE' }."
    )

    @model_validator(mode="after")
    def cards_that_can_be(self) -> DeploymentTable:
        """Each once, of one replica, and only where it runs on cards."""
        found = self.gpus or []
        if twice := [card for card in found if found.count(card) > 1]:
            raise PydanticCustomError("gpus", "card {card} is named twice", {"card": twice[0]})
        if min(found, default=0) < 0:
            raise PydanticCustomError("gpus", "{card} is no number of a card", {"card": min(found)})
        if found and self.gpu == "cpu":
            raise PydanticCustomError("gpus", "cards are named, but gpu is cpu")
        most = max(self.min, self.max)
        if found and most > 1:
            raise PydanticCustomError("gpus", "they are the cards of one replica, but max is {max}", {"max": most})
        return self

    @model_validator(mode="after")
    def containers_that_can_be(self) -> DeploymentTable:
        """An image stands for a container."""
        if self.image is not None and self.runtime == "process":
            raise PydanticCustomError("image", "an image is of a container, but runtime is process")
        return self

    @model_validator(mode="after")
    def one_word_for_stopping(self) -> DeploymentTable:
        if self.idle is not None and self.idle_stop is not None and self.idle != self.idle_stop:
            raise PydanticCustomError("idle_stop", "idle and idle_stop are the same, but say two things")
        return self

    @model_validator(mode="after")
    def min_within_max(self) -> DeploymentTable:
        if self.min > self.max and "max" in self.model_fields_set:
            raise PydanticCustomError("replicas", "min is {min}, but max is {max}", {"min": self.min, "max": self.max})
        return self


def deployment_spec(
    document: Mapping[str, object], *, base: Path, environ: Mapping[str, str], where: Where
) -> tuple[DeploymentSpec, bool]:
    """The spec, and whether the user gave the name. Relative model paths are relative to `base`.

    Raises SpecError `unknown-key`, `missing-key`, `invalid-value`, `invalid-name`, `unset-variable`, or those of
    `parse_model`; the first by place in the text, with the rest as detail.
    """
    try:
        table = DeploymentTable.model_validate(dict(document))
    except ValidationError as problem:
        raise _translated(problem, where) from problem
    model = _reference(table.model, base, where(("model",)))
    runtime = "container" if table.image is not None else table.runtime or "process"
    hosts = tuple(host(one, where(("host",))) for one in table.host)
    if runtime == "container" and LOCAL in hosts:
        raise _container_here(where(("image" if table.runtime is None else "runtime",)))
    name = default_name(model) if table.name is None else check_name(table.name, where=where(("name",)))
    spec = DeploymentSpec(
        name=name,
        model=str(model),
        gpu=table.gpu,
        host=hosts[0],
        quantization=table.quantization,
        speculative=None if table.speculative is None else _speculation(table.speculative, base, where),
        max_model_len=table.max_model_len,
        min_replicas=table.min,
        max_replicas=max(table.min, table.max),
        engine_args={key.lstrip("-").replace("_", "-"): _argument(value) for key, value in table.engine_args.items()},
        env={key: _variable(key, value, environ, where) for key, value in table.env.items()},
        s3_endpoint=table.s3_endpoint,
        gpus=None if table.gpus is None else tuple(table.gpus),
        runtime=runtime,
        image=None if table.image is None else check_image(table.image, where=where(("image",))),
        rent=rent_wish(table.rent),
        scale=ScaleWish(
            minimum=table.min if "min" in table.model_fields_set else None,
            maximum=table.max if "max" in table.model_fields_set else None,
            target_concurrency=table.target_concurrency,
            idle=table.idle if table.idle_stop is None else table.idle_stop,
            idle_sleep=table.idle_sleep,
            idle_release=table.idle_release,
            schedule=None if table.schedule is None else rules(table.schedule),
            wake_timeout=table.wake_timeout,
            canary=table.canary,
            bake=table.bake,
            hosts=hosts[1:] or ((ANY,) if hosts == (ANY,) else None),
        ),
    )
    check_policy(policy_of(spec), cards=spec.gpus, where=lambda key: where((key,)))
    return spec, table.name is not None


def schema() -> dict[str, Any]:
    """The JSON schema of lyc.toml (draft 2020-12), for editors."""
    document = DeploymentTable.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "lyc.toml"}


def _reference(written: str, base: Path, place: str) -> ModelRef:
    try:
        return parse_model(written, cwd=base)
    except SpecError as problem:
        problem.where = place
        raise


def _container_here(place: str) -> SpecError:
    return SpecError(
        "container-needs-host",
        "engines of this machine do not run in containers",
        why="a container runtime is used on hosts over SSH",
        where=place,
        hint="name one with --host, or leave --runtime and --image out",
    )


def _speculation(table: SpeculativeTable, base: Path, where: Where) -> Speculative:
    draft = table.model and str(_reference(table.model, base, where(("speculative", "model"))))
    return Speculative(table.method, draft, table.tokens)


def _argument(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))  # true, 1, 0.5, {"a":1}: what vLLM reads from its command line


def _variable(name: str, value: str | FromEnvironment, environ: Mapping[str, str], where: Where) -> str:
    if _ENV_NAME.fullmatch(name) is None:
        raise SpecError("invalid-value", f"{name!r} cannot be the name of a variable", where=where(("env", name)))
    if isinstance(value, str):
        return value
    found = environ.get(value.from_)
    if found is None:
        raise SpecError(
            "unset-variable",
            f"the variable {value.from_} is not set",
            why=f"{name} of the engine shall be read from it",
            where=where(("env", name)),
            hint=f"export {value.from_}=…",
        )
    return found


def _translated(problem: ValidationError, where: Where) -> LycError:
    errors = [_one(detail, where) for detail in problem.errors(include_url=False, include_input=False)]
    unique = {(error.what, error.where): error for error in errors}
    first, *others = sorted(unique.values(), key=_order)
    if not others:
        return first
    return SpecError(
        first.ref,
        first.what,
        why=first.why,
        where=first.where,
        hint=first.hint,
        detail=tuple(f"{other.where}: {other}" for other in others),
    )


def _order(error: SpecError) -> tuple[int, str]:
    line = error.where.rpartition(":")[2]
    return (int(line) if line.isdecimal() else 0, error.where)


def _one(detail: ErrorDetails, where: Where) -> SpecError:
    kind, path = detail["type"], tuple(detail["loc"])
    free = path[:1] in {("engine_args",), ("env",)}
    if free:  # of a union pydantic gives one error a member, and puts the member's name into the path
        path = path[:2]
    if kind in _OF_KEYS:  # said of the table as a whole
        path = (_OF_KEYS[kind],)
    shown = ".".join(str(part) for part in path)
    place = where(path)
    if kind == "extra_forbidden" and not free:
        tables: dict[object, type[BaseModel]] = {"speculative": SpeculativeTable, "rent": RentTable}
        fields = tables.get(path[0], DeploymentTable).model_fields if len(path) > 1 else DeploymentTable.model_fields
        near = nearest(str(path[-1]), fields)
        hint = f"did you mean {near}?" if near else f"keys are {', '.join(fields)}"
        return SpecError("unknown-key", f"there is no key {shown!r}", where=place, hint=hint)
    if kind == "missing" and not free:
        return SpecError("missing-key", f"{shown} is missing", where=place, hint=f'add {path[-1]} = "…"')
    return SpecError("invalid-value", f"the value of {shown} is not valid", why=_why(detail), where=place)


def _why(detail: ErrorDetails) -> str:
    if detail["loc"][:1] == ("gpus",) and detail["type"] != "gpus":
        return "it takes numbers of cards as nvidia-smi shows them, such as [0, 1]"
    if detail["loc"][:1] == ("engine_args",):
        return "it takes text, a number, true or false, a list or a table"
    if detail["loc"][:1] == ("env",):
        return 'it takes text, or { from = "VARIABLE" }'
    if detail["type"] == "literal_error":
        return f"it takes {detail['ctx']['expected']}"
    return detail["msg"][:1].lower() + detail["msg"][1:]
