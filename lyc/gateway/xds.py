"""The envelope of Envoy's files. Every file carries a version made of its content: same content, same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

Json = dict[str, object]

_HEAD, _VERSION_LENGTH = '{"version_info":"', 16


def typed(message: str, /, **fields: object) -> Json:
    """A message with its type, as `Any` fields want it; `message` is the part behind `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{message}", **fields}


def resources(items: Sequence[Json]) -> str:
    """One discovery response as JSON text."""
    return response([resource(item) for item in items])


def resource(item: Json) -> str:
    """One resource as it stands in a response."""
    return json.dumps(item, separators=(",", ":"), ensure_ascii=True)


def response(texts: Sequence[str]) -> str:
    """`resources` of what `resource` gave."""
    body = f"[{','.join(texts)}]"
    mark = hashlib.sha256(body.encode()).hexdigest()[:_VERSION_LENGTH]
    return f'{_HEAD}{mark}","resources":{body}}}\n'


def version(text: str) -> str:
    """The version that `resources` put into a file; Envoy repeats it once it has taken the file."""
    return text[len(_HEAD) : len(_HEAD) + _VERSION_LENGTH]


def from_file(directory: Path, name: str, *, every: str | None = None) -> Json:
    """A config source that follows one file. Envoy sees a rename over it, never a write into it.

    every: look so often (`0.05s`) instead of asking the kernel to be told. Envoy opens an inotify instance for every
    file and aborts when there is none left (128 a user by default), so what grows with the deployments must be polled.
    """
    source: Json = {"path": str(directory / name)}
    if every is not None:
        source["poll_interval"] = every
    return {"path_config_source": source, "resource_api_version": "V3"}
