"""The Lua programs as Envoy gets them: the key table inside auth.lua, and usage.lua."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import resources as package

from lyc.errors import Bug
from lyc.gateway.replies import MAX_BODY_BYTES, body
from lyc.gateway.xds import Json, typed
from lyc.records.gateway import KeyEntry

AUTH, USAGE = "lyc_auth", "lyc_usage"
LUA = "extensions.filters.http.lua.v3.Lua"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(what: str, name: str) -> str:
    """`name` itself if it may stand in a path, a file name and a Lua string; else a `Bug`: the spec checks names."""
    if not _WORD.fullmatch(name):
        raise Bug("gateway-name-invalid", f"the {what} {name!r} cannot be used by the gateway")
    return name


def auth_filter(keys: Iterable[KeyEntry]) -> Json:
    """auth.lua with the key table in it.

    The table is one string of fixed-width records in the order of their hashes, searched by halving: there is nothing
    to parse when it is pushed, so 10,000 keys change without a pause.
    """
    ordered = sorted(keys, key=lambda key: (key.sha256, key.id))
    id_width = max((len(key.id) for key in ordered), default=1)
    name_width = max((len(key.deployment) for key in ordered), default=1)
    table = "".join(_record(key, id_width, name_width) for key in ordered)
    values = {
        "KEYS": table,
        "ID_WIDTH": str(id_width),
        "NAME_WIDTH": str(name_width),
        "MAX_BODY": str(MAX_BODY_BYTES),
        "BODY_401": body(401),
        "BODY_404": body(404),
        "BODY_413": body(413),
        "BODY_500": body(500),
    }
    return _extension(AUTH, re.sub(r"@@(\w+)@@", lambda found: values[found[1]], _source("auth.lua")))


def usage_filter() -> Json:
    return _extension(USAGE, _source("usage.lua"))


@functools.lru_cache(maxsize=1 << 16)
def _record(key: KeyEntry, id_width: int, name_width: int) -> str:
    if not _SHA256.fullmatch(key.sha256):
        raise Bug("gateway-key-invalid", f"the hash of key {key.id!r} is not a SHA-256 in lower-case hex")
    name = check_name("deployment", key.deployment)
    return f"{key.sha256}{check_name('key id', key.id):{id_width}}{name:{name_width}}"


def _extension(name: str, source: str) -> Json:
    config = typed(LUA, default_source_code={"inline_string": source})
    return typed("config.core.v3.TypedExtensionConfig", name=name, typed_config=config)


@functools.cache
def _source(name: str) -> str:
    return package.files("lyc.gateway").joinpath(name).read_text(encoding="utf-8")
