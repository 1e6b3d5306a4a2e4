"""Where packages come from, as this machine is told, put so that uv on a host can be told the same. Pure but for files.

Folders of this machine, as `--find-links` or `file://` name them, exist for a host only through
`lyc.hosts.remote.egress`, which serves them as pages of NEAR.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from lyc.hosts.pip_places import uv_places

NEAR = "places.lyc.invalid"
"""A name that no machine has (RFC 6761): the folders of the machine that the controller runs on."""
PYPI = "https://pypi.org/simple"
_OWN = (
    "pypi.org", "files.pythonhosted.org", "download.pytorch.org", "download-r2.pytorch.org", "github.com",
    "objects.githubusercontent.com", "release-assets.githubusercontent.com",
)  # fmt: skip
"""Where uv goes by itself. A network that answers for these names with an inner mirror means it so."""
_SEPARATORS = {
    "UV_FIND_LINKS": ",", "UV_DEFAULT_INDEX": None, "UV_INDEX_URL": None, "UV_INDEX": " ", "UV_EXTRA_INDEX_URL": " ",
    "UV_PYTHON_INSTALL_MIRROR": None, "UV_PYTHON_DOWNLOADS_JSON_URL": None,
}  # fmt: skip
"""Variables of uv that name places, and what stands between several."""
_PLAIN = (
    "UV_INDEX_STRATEGY", "UV_NO_INDEX", "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT", "UV_HTTP_RETRIES",
    "UV_INSECURE_HOST", "UV_CONCURRENT_DOWNLOADS", "UV_PYTHON_DOWNLOADS",
)  # fmt: skip
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Places:
    """variables: for uv on the host; they may hold credentials, so they travel by stdin. told: the places of wheels
    that the user named, in words, or "". folders: of this machine, among them. servers: (name, port) of every place
    that is a server, and of those that uv goes to by itself. index: the address that stands for all. bundle:
    certificates to trust, as configured here.
    """

    variables: dict[str, str]
    told: str
    folders: tuple[Path, ...]
    servers: frozenset[tuple[str, int]]
    index: str
    bundle: Path | None

    @property
    def near(self) -> bool:
        """Whether some of them can be reached from this machine alone, whatever the host reaches."""
        return bool(self.folders) or any(_loopback(name) for name, _ in self.servers)


def places(environ: Mapping[str, str], prefix: Path) -> Places:
    """environ: of the controller. prefix: of its Python, for what its pip is told."""
    found, told = uv_places(environ, prefix)
    known = dict(environ) | found
    variables = {name: known[name] for name in _PLAIN if known.get(name)}
    variables |= {name: value for name, value in known.items() if _is_credential(name) and value}
    folders: list[Path] = []
    servers: set[tuple[str, int]] = {(name, 443) for name in _OWN}
    for name, separator in _SEPARATORS.items():
        words = [word for word in (known.get(name) or "").split(separator or " ") if word.strip()]
        if words:
            variables[name] = (separator or " ").join(_far(word.strip(), folders, servers) for word in words)
    bundle = Path(known["SSL_CERT_FILE"]) if known.get("SSL_CERT_FILE") else None
    index = variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL") or PYPI
    if bundle is not None and not bundle.is_file():
        bundle = None
    return Places(variables, told, tuple(folders), frozenset(servers), index, bundle)


def near_url(folder: Path) -> str:
    """How a host asks for a folder of this machine."""
    return f"http://{NEAR}{quote(str(folder))}/"


def _far(word: str, folders: list[Path], servers: set[tuple[str, int]]) -> str:
    """One place as the host knows it; `name=` before it stays."""
    name, equals, address = word.partition("=") if _named(word) else ("", "", word)
    if "://" not in address:
        return name + equals + _noted(Path(address).absolute(), folders)
    parts = urlsplit(address)
    if parts.scheme == "file":
        return name + equals + _noted(Path(unquote(parts.path)), folders)
    if parts.hostname:
        servers.add((parts.hostname, parts.port or _PORTS.get(parts.scheme, 443)))
    return word


def _noted(folder: Path, folders: list[Path]) -> str:
    folders.append(folder)
    return near_url(folder)


def _named(word: str) -> bool:
    """`internal=https://…`, and not `https://…?a=b` or a path."""
    name, equals, _ = word.partition("=")
    return bool(equals) and not set(name) & set(":/")


def _is_credential(name: str) -> bool:
    return name.startswith("UV_INDEX_") and name.endswith(("_USERNAME", "_PASSWORD"))


def _loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
