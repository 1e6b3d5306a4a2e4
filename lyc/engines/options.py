"""`--engine-arg K=V` and `--env K=V`, checked against what this version of vLLM says in its `--help`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from lyc.engines.tables import Option, nearest, options
from lyc.errors import SpecError
from lyc.records.plan import EngineBuild

_SOCKET = "the engine listens on a private unix socket, and the gateway is the only way in"
_TLS = "TLS ends at the gateway"
_ADDRESS = "lyc places the engine's processes"
OWNED: Mapping[str, str] = {
    "host": _SOCKET,
    "port": _SOCKET,
    "uds": _SOCKET,
    "root-path": _SOCKET,
    "grpc": _SOCKET,
    "grpc-port": _SOCKET,
    "headless": _SOCKET,
    "api-key": "the engine has a random key of its own; `lyc keys create` makes the keys of clients",
    "middleware": "code in the request path would see every prompt; the gateway does the checks",
    "model": "the model is the argument of `lyc deploy`",
    "revision": "pin the revision in the model's name: org/name@REVISION",
    "tokenizer-revision": "pin the revision in the model's name: org/name@REVISION",
    "code-revision": "no code from a model's repository is run",
    "trust-remote-code": "it runs Python from the model's repository with the rights of your account on this machine",
    "hf-token": "credentials are read from HF_TOKEN when the weights are fetched; the engine has no network",
    "download-dir": "the weights come from lyc's cache",
    "served-model-name": "clients name the deployment: change it with `lyc deploy --name`",
    "config": "lyc writes this file; give each option with --engine-arg",
    "shutdown-timeout": "lyc drains a replica at the gateway before it stops it",
    "enable-force-include-usage": "the gateway counts tokens from it; it is always on",
    "disable-access-log-for-endpoints": "lyc keeps its own questions out of the engine's log with it",
    "max-model-len": "use `lyc deploy --max-model-len`",
    "quantization": "use `lyc deploy --quantization`",
    "speculative-config": "use `lyc deploy --speculative`",
    "spec-method": "use `lyc deploy --speculative`",
    "spec-model": "use `lyc deploy --speculative`",
    "spec-tokens": "use `lyc deploy --speculative`",
    "api-server-count": _ADDRESS,
    "master-addr": _ADDRESS,
    "master-port": _ADDRESS,
    "nnodes": _ADDRESS,
    "node-rank": _ADDRESS,
    "help": "",
    "h": "",
}
"""Options that lyc sets or forbids, with the reason."""
_OWNED_PREFIXES = {
    "ssl-": _TLS,
    "enable-ssl-": _TLS,
    "data-parallel-": _ADDRESS,
    "dp-supervisor-": _ADDRESS,
    "allowed-origins": _TLS,
    "allowed-local-media-path": "it lets any client read files of this machine",
    "tool-parser-plugin": "it runs Python from a path with the rights of your account",
    "reasoning-parser-plugin": "it runs Python from a path with the rights of your account",
    "worker-cls": "it runs Python from a path with the rights of your account",
    "worker-extension-cls": "it runs Python from a path with the rights of your account",
    "enable-tokenizer-info-endpoint": "it shows more of the model than the API does",
}
OWNED_ENV: Mapping[str, str] = {
    "PATH": "the engine runs with its own environment first on PATH",
    "PYTHONPATH": "the engine runs with exactly the packages that lyc pinned",
    "PYTHONHOME": "the engine runs with exactly the packages that lyc pinned",
    "PYTHONDONTWRITEBYTECODE": "it doubles the time of every start",
    "VLLM_API_KEY": "the engine has a random key of its own; `lyc keys create` makes the keys of clients",
    "VLLM_CPU_KVCACHE_SPACE": "it would override the plan: use --engine-arg kv-cache-memory-bytes=BYTES",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "any client could load files of this machine as an adapter",
    "VLLM_SERVER_DEV_MODE": "it opens debugging endpoints to every client",
    "VLLM_HOST_IP": _SOCKET,
    "VLLM_PORT": _SOCKET,
    "HF_HUB_OFFLINE": "the weights are complete before the engine starts; it has no need of a network",
    "TRANSFORMERS_OFFLINE": "the weights are complete before the engine starts; it has no need of a network",
}
"""Environment variables that lyc sets or forbids, with the reason."""
_TRUE, _FALSE = frozenset({"", "true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


def check(engine_args: Mapping[str, str], build: EngineBuild) -> None:
    """Raise SpecError for the first argument that `vllm serve` of this build would refuse or that lyc owns.

    Names may be written with dashes or underscores, with or without leading dashes, and with a dotted part
    (`compilation-config.mode`). Values of options without choices are left to vLLM.
    """
    seen: dict[str, str] = {}
    for written, value in engine_args.items():
        name = canonical(written)
        if name in seen:
            raise _wrong(written, f"is given twice (also as {seen[name]})", "", f"drop one: --engine-arg {name}=…")
        seen[name] = written
        _check_one(written, name, value, build)


def check_env(env: Mapping[str, str]) -> None:
    """Raise SpecError for the first environment variable that lyc owns or that no system accepts."""
    for name in env:
        if not name or "=" in name or not name.isascii() or not name.replace("_", "a").isalnum() or name[0].isdigit():
            raise SpecError(
                "bad-env-name",
                f"{name!r} is not the name of an environment variable",
                where="--env",
                hint="write --env NAME=VALUE, with letters, digits and underscores in NAME",
            )
        if name in OWNED_ENV:
            raise SpecError(
                "owned-env",
                f"the engine's {name} cannot be set",
                why=OWNED_ENV[name],
                where=f"--env {name}",
                hint=f"drop --env {name}=…",
            )


def canonical(name: str) -> str:
    """`--Max_Num-seqs` as vLLM itself reads it: no leading dashes, dashes for underscores up to the first dot."""
    head, dot, rest = name.lstrip("-").partition(".")
    return head.replace("_", "-") + dot + rest


def words(engine_args: Mapping[str, str]) -> Iterator[str]:
    """The argv words of arguments that `check` has passed, in the order of their names."""
    known = options()
    for written in sorted(engine_args, key=canonical):
        name, value = canonical(written), engine_args[written]
        option = known.get(name) or _negated(name, known)
        if option is None or option.kind == "value":
            yield f"--{name}={value}"
        elif option.kind == "list":
            yield f"--{name}"
            yield from _items(value)
        elif name.startswith("no-") or value.lower() in _TRUE:
            yield f"--{name}"
        elif option.kind == "flag":
            yield f"--no-{name}"


def truth(value: str) -> bool:
    """Whether a flag's value as written switches it on. Only for values that `check` has passed."""
    return value.lower() in _TRUE


def _check_one(written: str, name: str, value: str, build: EngineBuild) -> None:
    base = name.partition(".")[0]
    reason = OWNED.get(base) or OWNED.get(base.removeprefix("no-"))
    for prefix, why in _OWNED_PREFIXES.items():
        if base.removeprefix("no-").startswith(prefix):
            reason = why
    if reason is not None:
        raise SpecError(
            "owned-engine-arg",
            f"the engine option {base} cannot be set",
            why=reason,
            where=f"--engine-arg {written}",
            hint=f"drop --engine-arg {written}=…",
        )
    known = options()
    option = known.get(base) or _negated(base, known)
    if option is None:
        alike = nearest(base, (n for n in known if n not in OWNED))
        raise _wrong(
            written,
            f"is not an option of {build.id}",
            "",
            f"did you mean {' or '.join(alike)}?" if alike else "see `vllm serve --help` of that version",
        )
    if "\n" in value or "\0" in value:
        raise _wrong(written, "has a line break in its value", "", "give the value on one line")
    if "." in name:
        if not base.endswith("-config"):
            raise _wrong(written, f"has a dotted part, but {base} is not a set of options", "", f"drop the `.{name}`")
        return
    _check_value(written, option, value)


def _check_value(written: str, option: Option, value: str) -> None:
    if option.kind in ("flag", "switch"):
        if value.lower() not in _TRUE | _FALSE:
            raise _wrong(written, f"is on or off, not {value!r}", "", f"write --engine-arg {option.name}=true")
        if option.name.startswith("no-") and value.lower() in _FALSE:
            raise _wrong(written, "is a double negation", "", f"write --engine-arg {option.name[3:]}=true")
        return
    values = _items(value) if option.kind == "list" else [value]
    if not values or not all(values):
        raise _wrong(written, "needs a value", "", f"write --engine-arg {option.name}=VALUE")
    if option.name.endswith("-config") and value.startswith("{"):
        try:
            json.loads(value)
        except ValueError as error:
            raise _wrong(written, "is not JSON", str(error), "check its quotes and brackets") from None
    for item in values:
        if option.choices and not option.open and item not in option.choices:
            alike = nearest(item, option.choices) or option.choices[:8]
            raise _wrong(written, f"cannot be {item!r}", "", f"choose one of: {', '.join(alike)}")


def _negated(name: str, known: Mapping[str, Option]) -> Option | None:
    positive = known.get(name.removeprefix("no-")) if name.startswith("no-") else None
    return Option(name, "flag") if positive and positive.kind == "flag" else None


def _items(value: str) -> list[str]:
    if value.startswith(("{", "[")):  # one JSON document, whose commas are its own
        return [value]
    return [item.strip() for item in value.split(",")]


def _wrong(written: str, what: str, why: str, hint: str) -> SpecError:
    return SpecError(
        "bad-engine-arg", f"the engine option {written} {what}", why=why, where=f"--engine-arg {written}", hint=hint
    )
