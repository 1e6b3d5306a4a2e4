"""What a user writes to name a machine: `ssh://user@box:2222`, `user@box`, or an alias of `~/.ssh/config`."""

from __future__ import annotations

import ipaddress
import re

from lyc.errors import UsageError
from lyc.spec.names import propose_name

_URL = re.compile(r"ssh://(?:(?P<user>[^@/]*)@)?(?P<host>\[[^]/]*\]|[^:/@\[\]]*)(?::(?P<port>[^/@]*))?/?")
_HOST = re.compile(r"[A-Za-z0-9_.%-]+")
_USER = re.compile(r"[^\s:@/'\"`$\\;&|<>(){}]+")


def parse_address(text: str, *, where: str = "ADDRESS") -> tuple[str, int | None]:
    """(what OpenSSH takes, port or None = as OpenSSH's configuration says).

    Raises UsageError `invalid-address`: also for what OpenSSH would take for an option.
    """
    written = text.strip()
    port: int | None = None
    if written.lower().startswith("ssh://"):
        match = _URL.fullmatch("ssh://" + written[6:])
        if match is None:
            raise _invalid(text, "it is not ssh://user@box:port", where)
        user, host = match["user"], match["host"].strip("[]")
        port = _port(match["port"], text, where) if match["port"] is not None else None
    else:
        user, _, host = written.rpartition("@") if "@" in written else (None, "", written)
        if ":" in host and not _is_ipv6(host):
            name, _, number = host.partition(":")
            better = f"ssh://{f'{user}@' if user else ''}{name}:{number}"
            raise _invalid(text, "a port is written in the form of a URL", where, hint=better)
    if not host or host.startswith("-") or not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise _invalid(text, "there is no machine's name in it", where)
    if user is not None and (user.startswith("-") or not _USER.fullmatch(user)):
        why = "a password cannot stand in it: lyc signs in with keys" if ":" in user else "the user's name is odd"
        raise _invalid(text, why, where)
    return (f"{user}@{host}" if user else host), port


def is_address(text: str) -> bool:
    """Whether it is meant as an address (`user@box`, `ssh://box`) where a host's name could stand as well."""
    return "@" in text or "://" in text


def shown(address: str, port: int | None) -> str:
    """`ssh://user@box:2222`: the address in the form that `parse_address` takes."""
    user, at, host = address.rpartition("@")
    host = f"[{host}]" if ":" in host else host
    return f"ssh://{user}{at}{host}" + (f":{port}" if port else "")


def name_of(address: str) -> str:
    """The name that a host gets when none is given: that of the machine without its domain."""
    host = address.rpartition("@")[2]
    plain = host if re.fullmatch(r"[\d.]+", host) or ":" in host else host.partition(".")[0]
    return propose_name(plain)


def _port(text: str, address: str, where: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16:
        return int(text)
    raise _invalid(address, f"{text!r} is no port", where)


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).version == 6
    except ValueError:
        return False


def _invalid(text: str, why: str, where: str, *, hint: str = "") -> UsageError:
    # What stands before the @ may be a password: it is not repeated.
    safe = re.sub(r"^((?:[a-zA-Z]+://)?)[^/]*:[^/]*@", r"\1…@", text)
    hint = hint or "write it like ssh://user@box:22, user@box, or as a Host of ~/.ssh/config"
    return UsageError("invalid-address", f"{safe!r} is not the address of a host", why=why, where=where, hint=hint)
