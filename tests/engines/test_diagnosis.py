"""Logs of starts that really failed, each with the one error that is made of it.

The files under logs/ are what the pinned vLLM wrote, with paths and long lines shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.engines.diagnosis import diagnose, root_line
from lyc.engines.progress import bare
from lyc.errors import EngineFailed, LycError, NoFit, SpecError
from lyc.records.secret import Secret

LOGS = Path(__file__).with_name("logs")
HEALTHY = {"eager", "compile"}


@dataclass(frozen=True)
class Case:
    """exit_code: of the engine. words: in what, why or hint. root: in the line found without a rule, if any."""

    exit_code: int
    kind: type[LycError]
    ref: str
    words: str
    root: str | None


CASES = {
    "bad-arch": Case(1, SpecError, "unsupported-architecture", "FooForCausalLM", "are not supported for now"),
    "bad-len": Case(1, SpecError, "max-model-len-too-large", "--max-model-len 2048 or less", "User-specified max"),
    "bad-value": Case(2, SpecError, "engine-unknown-option", "--max-num-seqs", "invalid int value: 'many'"),
    "gptq-asym": Case(1, SpecError, "quantization-unsupported", "here: bits=4, sym=False", "Unsupported quantization"),
    "kv-huge": Case(1, NoFit, "no-memory-for-kv-cache", "KV cache", "Available memory on node 0"),
    "kv-small": Case(1, NoFit, "kv-cache-too-small", "--max-model-len 256 or less", "To serve at least one request"),
    "model-type": Case(1, SpecError, "unsupported-architecture", "type foo", "has model type `foo`"),
    "no-config": Case(1, SpecError, "config-missing", "config.json", "Invalid repository ID or local directory"),
    "no-libnuma": Case(1, EngineFailed, "engine-library-missing", "lacks libnuma.so.1", "init_cpu_memory_env"),
    "no-tokenizer": Case(1, SpecError, "tokenizer-missing", "save_pretrained", "instantiate the backend tokenizer"),
    "no-weights": Case(1, SpecError, "weights-missing", "safetensors", "Cannot find any model weights"),
    "online-fp8": Case(1, SpecError, "unsupported-on-cpu", "static_scaled_fp8_quant", "static_scaled_fp8_quant"),
    "socket-taken": Case(1, EngineFailed, "socket-taken", "another process", "Address already in use"),
    "truncated": Case(1, SpecError, "weights-truncated", "cut off", "file not fully covered"),
    "unknown-option": Case(2, SpecError, "engine-unknown-option", "--no-such-option", "unrecognized arguments"),
    "wrong-shape": Case(1, SpecError, "weights-do-not-fit-config", "config.json", "exceeds dimension size"),
    "worker-killed": Case(1, NoFit, "engine-killed-out-of-memory", "out of memory", None),
}


def lines(name: str) -> list[str]:
    return (LOGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_failed_start(name: str) -> None:
    case = CASES[name]
    error = diagnose(lines(name), case.exit_code)
    assert (type(error), error.ref) == (case.kind, case.ref)
    assert case.words in f"{error.what} {error.why} {error.hint}"
    assert error.hint
    assert error.detail
    assert not any("pid=" in line or "Traceback" in line or len(line) > 300 for line in error.detail)


def test_every_log_has_its_case() -> None:
    assert {path.stem for path in LOGS.glob("*.txt")} == set(CASES) | HEALTHY


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_cause_is_found_without_any_rule(name: str) -> None:
    """What stays when a later version words its error differently."""
    found, expected = root_line([bare(line) for line in lines(name)]), CASES[name].root
    assert found is expected is None or (found is not None and expected is not None and expected in found)


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_a_healthy_log_names_no_cause(name: str) -> None:
    """Warnings of every start are not taken for the reason of an end."""
    before_shutdown = [line for line in lines(name) if "shutdown" not in line and "async_llm" not in line]
    assert (type(diagnose(before_shutdown, 1)), diagnose(before_shutdown, 1).ref) == (EngineFailed, "engine-failed")


def test_killed_by_the_kernel_for_memory() -> None:
    for code in (-9, 137):
        error = diagnose(lines("eager")[:40], code)
        assert (type(error), error.ref) == (NoFit, "engine-killed-out-of-memory")
        assert "memory" in error.what


def test_killed_by_another_signal() -> None:
    error = diagnose(lines("eager")[:40], -11)
    assert (error.ref, "signal 11" in error.what) == ("engine-killed", True)


@pytest.mark.parametrize("code", [0, 1, 2, -9, -15, None])
def test_no_log_at_all(code: int | None) -> None:
    assert diagnose([], code).hint


def test_nobody_saw_the_end() -> None:
    assert diagnose(["(EngineCore pid=1) ValueError: odd"], None).why == "ValueError: odd"


def test_the_last_telling_exception_is_the_root() -> None:
    log = [
        "(Worker pid=3) ERROR 11-21 21:00:40 [w.py:1] Traceback (most recent call last):",
        '(Worker pid=3) ERROR 11-21 21:00:40 [w.py:1]   File "x.py", line 1, in f',
        "(Worker pid=3) torch.AcceleratorError: the card fell off the bus",
        "(EngineCore pid=2) Exception: WorkerProc initialization failed due to an exception in a background process.",
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    assert root_line([bare(line) for line in log]) == "torch.AcceleratorError: the card fell off the bus"


def test_secrets_are_not_shown() -> None:
    key = Secret("quite-plain-looking")
    log = [f"ValueError: cannot read {key.reveal()} with hf_abcdefghijklmnop at https://user:pw@host/ api_key=abc"]
    shown = str(diagnose(log, 1, [key]).document())
    assert not [leak for leak in (key.reveal(), "hf_abcdefghijklmnop", "user:pw", "abc'") if leak in shown]


@given(st.lists(st.text(max_size=60), max_size=30), st.one_of(st.none(), st.integers(-64, 255)))
def test_no_log_breaks_it(log: list[str], code: int | None) -> None:
    error = diagnose(log, code)
    assert error.what
    assert len(error.detail) <= 6
