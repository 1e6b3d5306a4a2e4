"""The access log, added up. It holds the last requests alone: the gateway drops old lines when it grows too long."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any

from lyc.gateway.front import ACTIVATOR
from lyc.records.traffic import Served, Span, Traffic

_DAY = len("2026-11-20")


def access_log(files: Path) -> Path:
    """Where it lies, by the folder of the gateway's files."""
    return files.with_name("log") / "access.jsonl"


def traffic(log: Path, *, since: float | None = None, until: float | None = None) -> Traffic:
    """Of the requests that began from `since` to `until`, reached a replica and have ended. About 13 µs a line.

    A line that cannot be read (the disk was full as it was written) is passed over. Where there is no log, nothing
    has been served.
    """
    first, last = -math.inf if since is None else since, math.inf if until is None else until
    older = log.with_name(f"{log.name}.1")
    served: dict[tuple[str, str], Served] = {}
    spans: dict[str, list[Span]] = {}
    for entry in chain(_entries(older), _entries(log)):
        deployment, at = entry.get("deployment"), _at(entry)
        if at is None or not first <= at < last or not deployment or not _reached(entry):
            continue
        key = (deployment, entry["ts"][:_DAY])
        served[key] = served.get(key, Served()) + _served(entry)
        spans.setdefault(deployment, []).append((at, at + (entry.get("ms") or 0) / 1000))
    begins = (at for entry in _entries(older) if (at := _at(entry)) is not None)
    return Traffic(next(begins, None), served, {name: merged(found) for name, found in spans.items()})


def merged(spans: list[Span]) -> tuple[Span, ...]:
    """The same time as spans that neither overlap nor touch, in their order."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return tuple(found)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry
    except FileNotFoundError:
        return


def _at(entry: dict[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(entry["ts"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _reached(entry: dict[str, Any]) -> bool:
    """The activator's name stands for a replica's only where it passed a replica's stream on."""
    replica = entry.get("replica")
    return bool(replica) and (replica != ACTIVATOR or entry.get("status") == HTTPStatus.OK)


def _served(entry: dict[str, Any]) -> Served:
    prompt, completion = entry.get("prompt_tokens"), entry.get("completion_tokens")
    silent = prompt is None and entry.get("status") == 200 and entry.get("method") == "POST"
    return Served(1, prompt or 0, completion or 0, int(silent))
