"""Which providers are installed, and the user's credentials for them: `lyc.ports.Accounts`."""

from __future__ import annotations

import difflib
import json
import os
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from lyc.errors import Failed, NotAuthorised, UsageError
from lyc.ports import Provider, ProviderKind
from lyc.records.rental import Capabilities
from lyc.records.secret import Secret

GROUP = "lyc.providers"
_KEYRING = "lyc"


@dataclass(frozen=True, slots=True)
class _Credentials:
    values: Mapping[str, Secret]
    source: str


class ProviderAccounts:
    """Implements `lyc.ports.Accounts`.

    folder: of the files with credentials, made 0700. environ: the controller's own; besides credentials it may hold
    `LYC_<NAME>_ENDPOINT`, an address in place of a provider's own. installed: for tests; None = by entry points.
    """

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        installed: Mapping[str, ProviderKind] | None = None,
    ) -> None:
        self._folder = folder
        self._environ = environ
        self._clock = clock
        self._installed = installed
        self._open: dict[str, tuple[Mapping[str, Secret], Provider]] = {}
        self._lock = threading.Lock()

    @cached_property
    def _kinds(self) -> Mapping[str, ProviderKind]:
        found = installed() if self._installed is None else self._installed
        return dict(sorted(found.items()))

    def kinds(self) -> Mapping[str, ProviderKind]:
        """See the port."""
        return self._kinds

    def sources(self) -> Mapping[str, str]:
        """See the port."""
        found = {name: self._found(name) for name in self._kinds}
        return {name: one.source for name, one in found.items() if one is not None}

    def open(self, name: str) -> Provider:
        """See the port."""
        kind = self._kind(name)
        found = self._found(name)
        if found is None:
            raise _missing(name, kind.capabilities)
        with self._lock:
            before = self._open.get(name)
            if before is not None and before[0] == found.values:
                return before[1]
            opened = self._opened(name, kind, found.values)
            self._open[name] = (found.values, opened)
            return opened

    def trial(self, name: str, credentials: Mapping[str, Secret]) -> Provider:
        """See the port."""
        kind = self._kind(name)
        self._check_names(name, credentials)
        values = _of(name, kind.capabilities, credentials)
        if values is None:
            raise _missing(name, kind.capabilities)
        return self._opened(name, kind, values)

    def _opened(self, name: str, kind: ProviderKind, values: Mapping[str, Secret]) -> Provider:
        variable = endpoint_variable(name)
        said = values[variable].reveal() if variable in values else self._environ.get(variable)
        taken = {env: one for env, one in values.items() if env != variable}
        return kind.open(taken, endpoint=said or None, clock=self._clock)

    def _check_names(self, name: str, credentials: Mapping[str, Secret]) -> None:
        capabilities = self._kind(name).capabilities
        names = [one.env for one in capabilities.credentials]
        if unknown := sorted(credentials.keys() - {*names, endpoint_variable(name)}):
            raise UsageError(
                "unknown-credential", f"{capabilities.title} knows no {unknown[0]}", hint=f"it takes {', '.join(names)}"
            )

    def hear(self, credentials: Mapping[str, Secret]) -> None:
        """See the port."""
        for name, kind in self._kinds.items():
            values = _of(name, kind.capabilities, credentials)
            if values is not None:
                self._write(self._told(name), {env: one.reveal() for env, one in values.items()})

    def settle(self, renting: Collection[str]) -> None:
        """See the port."""
        for name in self._kinds.keys() - set(renting):
            self._told(name).unlink(missing_ok=True)

    def login(self, name: str, credentials: Mapping[str, Secret], *, keyring: bool) -> None:
        """See the port."""
        self._check_names(name, credentials)
        plain = {env: one.reveal() for env, one in credentials.items()}
        if not keyring:
            self._write(self._file(name), plain)
            return
        ring = _keyring()
        for env, value in plain.items():
            ring.set_password(_KEYRING, f"{name}:{env}", value)
        self._write(self._file(name), {"keyring": sorted(plain)})

    def logout(self, name: str) -> bool:
        """See the port."""
        self._kind(name)
        kept = self._read(self._file(name))
        for env in _ringed(kept):
            _keyring().delete_password(_KEYRING, f"{name}:{env}")
        there = self._file(name).exists()
        self._file(name).unlink(missing_ok=True)
        return there

    def _kind(self, name: str) -> ProviderKind:
        if name not in self._kinds:
            near = difflib.get_close_matches(name, self._kinds, 1)
            hint = f"did you mean {near[0]}?" if near else f"providers are {', '.join(self._kinds)}"
            raise UsageError("unknown-provider", f"there is no provider {name!r}", where="--provider", hint=hint)
        return self._kinds[name]

    def _found(self, name: str) -> _Credentials | None:
        capabilities = self._kinds[name].capabilities
        kept = self._read(self._file(name))
        ringed = _ringed(kept)
        for source, values in (
            ("the last caller", self._read(self._told(name))),
            ("the keyring", {env: _keyring().get_password(_KEYRING, f"{name}:{env}") for env in ringed}),
            (str(self._file(name)), kept),
            ("the environment", self._environ),
        ):
            secret = {env: Secret(value) for env, value in values.items() if isinstance(value, str) and value}
            complete = _of(name, capabilities, secret)
            if complete is not None:
                return _Credentials(complete, source)
        return None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _told(self, name: str) -> Path:
        return self._folder / f"{name}.told.json"

    @staticmethod
    def _read(path: Path) -> dict[str, object]:
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Failed(
                "credentials-unreadable", f"{path} cannot be read", why=str(error), hint=f"rm {path}, then log in again"
            ) from error
        return kept if isinstance(kept, dict) else {}

    def _write(self, path: Path, values: Mapping[str, object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(values, file)
        temporary.replace(path)


def endpoint_variable(name: str) -> str:
    """The variable that holds an address in place of a provider's own."""
    return f"LYC_{name.upper().replace('-', '_')}_ENDPOINT"


def _of(name: str, capabilities: Capabilities, values: Mapping[str, Secret]) -> Mapping[str, Secret] | None:
    """Those that a provider takes, if all are there that it needs, with its address if that is another."""
    mine = {one.env: values[one.env] for one in capabilities.credentials if values.get(one.env)}
    complete = bool(mine) and all(one.env in mine for one in capabilities.credentials if one.required)
    address = {env: one for env, one in values.items() if env == endpoint_variable(name)}
    return mine | address if complete else None


def _missing(name: str, capabilities: Capabilities) -> NotAuthorised:
    needed = [one.env for one in capabilities.credentials if one.required]
    return NotAuthorised(
        "no-provider-credential",
        f"there is no credential for {capabilities.title}",
        why=f"{' and '.join(needed)} {'is' if len(needed) == 1 else 'are'} not set" if needed else "none is set",
        where=f"--provider {name}",
        hint=f"get one at {capabilities.credentials_page}, then: lyc providers login {name}",
    )


def installed() -> dict[str, ProviderKind]:
    """All providers, by entry point. One that cannot be loaded must not take the others away."""
    return {point.name: kind for point in entry_points(group=GROUP) if (kind := _loaded(point)) is not None}


def _loaded(point: EntryPoint) -> ProviderKind | None:
    try:
        kind: ProviderKind = point.load()
    except ImportError:
        return None
    return kind


def _ringed(kept: Mapping[str, object]) -> list[str]:
    """The variables whose values lie in the keyring."""
    names = kept.get("keyring")
    return [str(name) for name in names] if isinstance(names, list) else []


def _keyring() -> ModuleType:
    """The optional dependency `keyring`. Raises Failed `no-keyring`."""
    try:
        return import_module("keyring")
    except ImportError:
        raise Failed(
            "no-keyring",
            "the package keyring is not installed beside lyc",
            hint="uv tool install 'lyc[keyring]', or log in without --keyring: the file is readable by you alone",
        ) from None
