"""The program that runs on hosts, as one file: `lyc.agent` zipped, named by its digest."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from importlib.resources import files

_MAIN = b"import sys\n\nfrom lyc.agent.main import main\n\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@cache
def agent_zip() -> tuple[bytes, str]:
    """The zip and the first 16 hexadecimal digits of its SHA-256.

    The same source gives the same bytes on every machine, so the digest says which program a host has.
    """
    sources = {entry.name: entry.read_bytes() for entry in files("lyc.agent").iterdir() if entry.name.endswith(".py")}
    members = {"__main__.py": _MAIN, "lyc/__init__.py": b""}
    members |= {f"lyc/agent/{name}": source for name, source in sources.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, source in sorted(members.items()):
            archive.writestr(_entry(name), source)
    return packed.getvalue(), hashlib.sha256(packed.getvalue()).hexdigest()[:16]


def _entry(name: str) -> zipfile.ZipInfo:
    """Stored, not deflated: what zlib makes of it differs between its versions."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry
