"""The words of `lyc deploy` → `DeploymentSpec`. Of the world it sees the file of `-f` and which folders exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lyc.errors import UsageError
from lyc.records.deployment import DeploymentSpec


def pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    """`["a=1", "b=x=y"]` → `{"a": "1", "b": "x=y"}`. Raises UsageError `invalid-pair` and `given-twice`.

    The value is never shown in an error: it may be a secret.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not key:
            why = f"{key} has no '='" if key and not equals else "the name is missing"
            raise UsageError(
                "invalid-pair", f"{flag} takes NAME=VALUE", why=why, where=flag, hint=f"{flag} {key or 'NAME'}=VALUE"
            )
        _once(key, found, flag)
        found[key] = value
    return found


def variables(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """As `pairs`, where a name alone takes the value from the caller's environment, so that no secret is typed."""
    found: dict[str, str] = {}
    for word in words:
        if "=" in word:
            key, value = next(iter(pairs([word], "--env").items()))
        elif (known := environ.get(word)) is not None:
            key, value = word, known
        else:
            raise UsageError(
                "unset-variable",
                f"the variable {word} is not set",
                why="--env NAME takes its value from your environment",
                where="--env",
                hint=f"export {word}=…, or --env {word}=VALUE",
            )
        _once(key, found, "--env")
        found[key] = value
    return found


def wished(
    flags: Mapping[str, object], *, file: Path | None, cwd: Path, environ: Mapping[str, str]
) -> tuple[DeploymentSpec, bool]:
    """The spec, and whether its name was given. flags: keys of lyc.toml said as flags; they win over the file.

    Raises UsageError `no-model`, and whatever the spec raises.
    """
    # pydantic takes a quarter of a second to import; no other verb needs it.
    from lyc.spec.deployment import deployment_spec
    from lyc.spec.lyc_toml import flag_of, read_lyc_toml
    from lyc.spec.model_ref import parse_model

    said = {key: value for key, value in flags.items() if value is not None and value not in ({}, [])}
    if file is not None:
        if isinstance(model := said.get("model"), str):
            said["model"] = str(parse_model(model, cwd=cwd))  # a flag is relative to the caller, not to the file
        return read_lyc_toml(cwd / file, overrides=said, environ=environ)
    if "model" not in said:
        raise UsageError("no-model", "what shall be deployed?", hint="lyc deploy MODEL, or lyc deploy -f lyc.toml")
    return deployment_spec(
        said,
        base=cwd,
        environ=environ,
        where=lambda path: flag_of(path) if path else "lyc deploy",
    )


def _once(key: str, found: Mapping[str, str], flag: str) -> None:
    if key in found:
        raise UsageError("given-twice", f"{flag} {key} is given twice", where=flag)
