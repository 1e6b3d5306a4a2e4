"""Where pip was told to look for packages, handed on to uv, which does not read pip's configuration."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

_PLACES = {
    "find-links": ("PIP_FIND_LINKS", "UV_FIND_LINKS", ","),
    "index-url": ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("PIP_EXTRA_INDEX_URL", "UV_INDEX", " "),
    "cert": ("PIP_CERT", "SSL_CERT_FILE", " "),
}
"""pip's option → (pip's variable, uv's variable, what separates several values there)."""
_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def uv_places(environ: Mapping[str, str], prefix: Path) -> tuple[dict[str, str], str]:
    """(variables to run uv with, the folders or pages of wheels in words or "").

    What the user has told uv itself wins over what pip was told. In variables and not in argv, because the addresses
    may hold credentials. prefix: of the running Python, for its pip.conf.
    """
    configured = _pip_configuration(environ, prefix)
    variables: dict[str, str] = {}
    for option, (pip_name, uv_name, separator) in _PLACES.items():
        if environ.get(uv_name) or environ.get(_OLD_NAMES.get(uv_name, uv_name)):
            continue
        value = environ.get(pip_name) or configured.get(option, "")
        if value.split():
            variables[uv_name] = separator.join(value.split())
    if "UV_INDEX" in variables or "UV_DEFAULT_INDEX" in variables:
        # uv looks no further than the first index that has a package; the lock's hashes make looking further safe.
        variables.setdefault("UV_INDEX_STRATEGY", environ.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    links = environ.get("UV_FIND_LINKS") or variables.get("UV_FIND_LINKS", "")
    return variables, _shown(links)


def _shown(links: str) -> str:
    names = [link.rsplit("@", 1)[-1] if "@" in link else link for link in links.replace(",", " ").split()]
    return " and ".join(names)


def _pip_configuration(environ: Mapping[str, str], prefix: Path) -> dict[str, str]:
    """Options of pip's `[global]` and `[install]` in the files that pip reads, later files winning."""
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf")]
    if home is not None:
        files += [home / ".pip" / "pip.conf", Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"]
    files += [prefix / "pip.conf"]
    if environ.get("PIP_CONFIG_FILE"):
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for file in files:
            parser = configparser.RawConfigParser(strict=False)
            try:
                parser.read(file, encoding="utf-8")
            except (configparser.Error, OSError, UnicodeDecodeError):
                continue
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    return found
