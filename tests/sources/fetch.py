"""Fetch a model in a process of its own, so that tests can kill it: `fetch.py CACHE REFERENCE ENDPOINT`.

Prints one JSON object: the snapshot, or the error's document. What the cache says goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lyc.errors import LycError
from lyc.records.secret import Secret
from lyc.sources import open_source
from lyc.sources.cache import ContentCache
from lyc.spec.model_ref import parse_model


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(root: str, written: str, endpoint: str) -> None:
    cache = ContentCache(Path(root))
    names = ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    credentials = {name: Secret(os.environ[name]) for name in names if name in os.environ}
    credentials["HF_ENDPOINT"] = Secret(endpoint)
    try:
        ref = parse_model(written, cwd=Path.cwd())
        source = open_source(
            ref, credentials=credentials, s3_endpoint=endpoint, cache=cache.root, environ=os.environ, say=say
        )
        listing = source.resolve(ref)
        snapshot = cache.snapshot(source, listing, lambda done, total: None, say)
        answer = {"path": str(snapshot.path), "digest": snapshot.digest, "damaged": cache.verify(snapshot)}
    except LycError as error:
        answer = error.document()
    print(json.dumps(answer))


main(*sys.argv[1:])
