"""lyc.toml → DeploymentSpec. Errors name the file, the line and the nearest valid key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from lyc.errors import SpecError
from lyc.records.deployment import DeploymentSpec
from lyc.spec.deployment import deployment_spec
from lyc.spec.positions import KeyPath, locate

FILE = "lyc.toml"
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


def read_lyc_toml(
    path: Path, *, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str]
) -> tuple[DeploymentSpec, bool]:
    """The spec of the file, and whether it has a name; `path` may be a folder that holds a lyc.toml.

    overrides: keys given as flags; they win over the file. Raises SpecError, also `no-spec-file` and `invalid-toml`.
    """
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as problem:
        raise SpecError(
            "no-spec-file", "the file of the deployment cannot be read", why=problem.strerror or "", where=str(file)
        ) from problem
    except UnicodeDecodeError as problem:
        raise SpecError("invalid-toml", f"{file.name} is not text in UTF-8", where=str(file)) from problem
    return parse_lyc_toml(text, path=file, overrides=overrides, environ=environ)


def parse_lyc_toml(
    text: str, *, path: Path, overrides: Mapping[str, object] | None = None, environ: Mapping[str, str]
) -> tuple[DeploymentSpec, bool]:
    """As `read_lyc_toml`, of a text. `path` is shown in errors; relative models are looked for beside it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        # The position is in the message alone before Python 3.14; it is shown, never decided upon.
        place = _PLACE.search(str(problem))
        line = place[1] if place and place[1] else text.rstrip().count("\n") + 1
        raise SpecError(
            "invalid-toml", f"{path.name} is not TOML", why=_PLACE.sub("", str(problem)), where=f"{path}:{line}"
        ) from problem
    lines = locate(text)
    given = overrides or {}

    def where(key: KeyPath) -> str:
        if key and key[0] in given:
            return flag_of(key)
        while key and key not in lines:
            key = key[:-1]
        return f"{path}:{lines.get(key, 1)}"

    return deployment_spec(_merged(document, given), base=path.absolute().parent, environ=environ, where=where)


def flag_of(key: KeyPath) -> str:
    """The flag of `lyc deploy` that says the same as the key of lyc.toml."""
    name = str(key[1] if key[0] == "rent" and len(key) > 1 else key[0])
    named = {"engine_args": "--engine-arg", "model": "MODEL", "providers": "--provider"}
    return named.get(name, "--" + name.replace("_", "-"))


def _merged(document: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    merged = dict(document)
    for key, value in given.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
