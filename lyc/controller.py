"""`python -m lyc.controller`: the controller process. Started by the CLI; settings come from the environment."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys

from lyc.control.home import claim
from lyc.control.launch import ERROR_MARK
from lyc.control.process import run
from lyc.errors import LycError
from lyc.spec.settings import load
from lyc.wiring import build_deps


def main() -> None:
    """Exit code: that of the error which kept the controller from running, else 0."""
    os.umask(0o077)
    settings = load(os.environ)
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("httpx", "httpcore", "botocore", "urllib3", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a request that waits holds a descriptor
    try:
        claimed = claim(settings)
        run(build_deps(settings), claimed)
    except LycError as error:
        print(ERROR_MARK + json.dumps(error.document()), file=sys.stderr, flush=True)  # noqa: T201 - the CLI reads it
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
