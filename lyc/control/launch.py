"""Starts the controller when a command needs it, detached, so that it survives the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lyc.control.layout import controller_log
from lyc.errors import Failed, LycError, from_document
from lyc.spec.settings import Settings

START_SECONDS = 30.0
ERROR_MARK = "lyc-error: "
_PASSED = frozenset({
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "PIP_CERT",
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK",
})  # fmt: skip


def answers(settings: Settings) -> bool:
    """Whether a controller listens."""
    import socket  # noqa: PLC0415

    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(settings.controller_socket))
        except OSError:
            return False
    return True


def ensure_controller(settings: Settings) -> bool:
    """Return once a controller listens; True if it had to be started. Raises what kept it from starting."""
    if answers(settings):
        return False
    log = controller_log(settings)
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        offset = log.stat().st_size if log.exists() else 0
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "lyc.controller"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd="/",
                env=_environment(settings),
            )
    except OSError as problem:
        raise Failed(
            "home-unusable",
            f"lyc cannot keep its state in {settings.home}",
            why=problem.strerror or str(problem),
            hint="make it writable, or choose another folder: export LYC_HOME=…",
        ) from problem
    deadline = time.monotonic() + START_SECONDS
    while not answers(settings):
        ended = process.poll()
        if ended is not None and not answers(settings):
            error = _why(log, offset, ended)
            if error.ref == "controller-runs-already" and time.monotonic() < deadline:
                time.sleep(0.02)  # another command started it at the same moment; wait for that one
                continue
            raise error
        if time.monotonic() > deadline:
            raise Failed("controller-silent", "the controller does not answer", hint="lyc controller logs")
        time.sleep(0.01)
    return True


def _environment(settings: Settings) -> dict[str, str]:
    """Only what the controller needs: no token of the caller outlives the command that brought it."""
    kept = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith("UV_")}
    return kept | settings.environment() | {"LYC_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}


def _why(log: Path, offset: int, exit_code: int) -> LycError:
    """The error that the controller left in its log."""
    import json  # noqa: PLC0415

    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(ERROR_MARK):
            return from_document(json.loads(line.removeprefix(ERROR_MARK)))
    return Failed(
        "controller-failed", f"the controller ended with exit code {exit_code}", detail=tuple(lines[-5:]),
        hint=f"see all of it: cat {log}",
    )  # fmt: skip
