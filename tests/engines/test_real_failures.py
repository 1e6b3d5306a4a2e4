"""Real starts that fail, so that a log of the pinned vLLM, and not of an older one, is what the rules are held to.

Only the cases that differ in how the error comes out: the API server's own, a worker's, a killed process's, argparse's.
The other cases are in test_diagnosis.py, with their logs.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lyc.engines import vllm
from lyc.engines.diagnosis import diagnose
from lyc.errors import LycError
from lyc.records.plan import Plan
from lyc.testing.models import TinyModels
from lyc.units import MIB
from tests.engines.running import START_SECONDS, end, failed_start, spawn, target
from tests.engines.test_real_engine import PLAN

pytestmark = pytest.mark.engine


def error_of(plan: Plan, engine_bin: Path, folder: Path, model: Path, *, one_process: bool = True) -> LycError:
    lines, code = failed_start(plan, target(engine_bin, folder, model), one_process=one_process)
    error = diagnose(lines, code)
    assert error.detail, "\n".join(lines[-20:])
    return error


def test_an_architecture_that_vllm_lacks(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    """Past lyc's own check, which says it half a minute sooner."""
    model = tiny.changed("unknown-architecture", architectures=["FooForCausalLM"])
    assert error_of(PLAN, engine_bin, folder, model).ref == "unsupported-architecture"


def test_weights_that_were_cut_off(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    """In a worker, two processes away from the one whose log and exit code are seen."""
    assert error_of(PLAN, engine_bin, folder, tiny.truncated(), one_process=False).ref == "weights-truncated"


def test_a_kv_cache_that_is_too_small(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    error = error_of(replace(PLAN, kv_cache_bytes=MIB // 8), engine_bin, folder, tiny.base)
    assert (error.ref, error.exit_code) == ("kv-cache-too-small", 5)


def test_asymmetric_gptq(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    """Past lyc's own check: what it refuses, this vLLM refuses too."""
    error = error_of(PLAN, engine_bin, folder, tiny.quantized("gptq-asymmetric"))
    assert error.ref == "quantization-unsupported"


def test_a_socket_that_is_taken(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    at = target(engine_bin, folder, tiny.base)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(at.socket))
        lines, code = failed_start(PLAN, at)
    assert diagnose(lines, code).ref == "socket-taken"


def test_an_option_that_vllm_lacks(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    command = vllm.command(PLAN, target(engine_bin, folder, tiny.base), os.environ)
    process = spawn(replace(command, argv=(*command.argv, "--no-such-option")), folder / "log")
    try:
        code = process.wait(START_SECONDS)
    finally:
        end(process)
    error = diagnose((folder / "log").read_text().splitlines(), code)
    assert (error.ref, "--no-such-option" in error.what) == ("engine-unknown-option", True)


def test_a_process_of_the_engine_that_is_killed(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    """As the kernel does when memory is out: without a word in the log."""
    process = spawn(vllm.command(PLAN, target(engine_bin, folder, tiny.base), os.environ), folder / "log")
    try:
        worker = _worker(process.pid)
        worker.send_signal(signal.SIGKILL)
        code = process.wait(START_SECONDS)
    finally:
        end(process)
    error = diagnose((folder / "log").read_text().splitlines(), code)
    assert (error.ref, error.exit_code) == ("engine-killed-out-of-memory", 5)


def _worker(leader: int) -> psutil.Process:
    """The process that holds the weights, as soon as it is there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for child in psutil.Process(leader).children(recursive=True):
            try:
                if "".join(child.cmdline()).startswith("VLLM::Worker"):
                    return child
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise AssertionError("no worker came")
