"""The name of a deployment or a host: a DNS label (RFC 1123), for it stands in URLs, file names and process names."""

from __future__ import annotations

import re

from lyc.errors import SpecError

LONGEST = 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_name(name: str, *, where: str = "--name", of: str = "deployment") -> str:
    """The name itself if it is a DNS label of at most 63 characters; else SpecError `invalid-name`."""
    if not name:
        why = "it is empty"
    elif len(name) > LONGEST:
        why = f"it has {len(name)} characters, and {LONGEST} is the most"
    elif _LABEL.fullmatch(name) is None:
        odd = sorted(set(re.findall(r"[^a-z0-9-]", name)))
        why = f"{' '.join(map(repr, odd))} cannot stand in it" if odd else "it begins or ends with a dash"
    else:
        return name
    proposal = propose_name(name)
    raise SpecError(
        "invalid-name",
        f"{_short(name)!r} cannot be the name of a {of}",
        why=why,
        where=where,
        hint=f"use small letters, digits and dashes, for example {proposal}",
    )


def propose_name(text: str) -> str:
    """The nearest valid name to any text; `model` where nothing of it can be kept."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST].strip("-") or "model"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST + 1 else text[:LONGEST] + "…"
