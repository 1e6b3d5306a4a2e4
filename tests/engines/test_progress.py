"""What lines of vLLM's log say of a start. The files under logs/ are real, with paths and long lines shortened."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.engines.progress import bare, level, progress
from lyc.records.engine import EngineProgress

LOGS = Path(__file__).with_name("logs")


def said(name: str) -> list[EngineProgress]:
    lines = (LOGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [found for found in map(progress, lines) if found is not None]


def test_a_start_without_compiling() -> None:
    assert said("eager") == [
        EngineProgress("import", "vLLM has read its options"),
        EngineProgress("import", "architecture LlamaForCausalLM"),
        EngineProgress("import", "starting the engine core"),
        EngineProgress("load", "weights", 0.0),
        EngineProgress("load", "weights, shard 0 of 3", 0.0),
        EngineProgress("load", "weights, shard 3 of 3", 1.0),
        EngineProgress("load", "weights loaded in 0.02 s", 1.0),
        EngineProgress("serve", "KV cache for 131,072 tokens"),
        EngineProgress("serve", "engine ready after 0.18 s"),
        EngineProgress("serve", "starting to listen"),
        EngineProgress("serve", "listening", 1.0),
    ]


def test_a_start_with_compiling() -> None:
    stages = list(dict.fromkeys(found.stage for found in said("compile")))
    assert stages == ["import", "load", "compile", "serve"]
    assert EngineProgress("compile", "compiling the model", 0.0) in said("compile")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "\rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|████      | 2/5 [00:01<00:02,  1.4it/s]",
            EngineProgress("compile", "capturing graphs, 2 of 5", 0.4),
        ),
        (
            "(Worker pid=7) INFO 11-21 21:00:40 [r.py:6582] Graph capturing finished in 12 secs, took 0.61 GiB",
            EngineProgress("compile", "graphs captured in 12 s", 1.0),
        ),
        (
            "(Worker_TP0 pid=7) INFO 11-21 21:00:40 [r.py:5150] Model loading took 14.99 GiB memory and 7 seconds",
            EngineProgress("load", "14.99 GiB of weights in memory", 1.0),
        ),
        (
            "INFO 11-21 21:00:40 [monitor.py:20] [backbone] torch.compile took 31.20 s in total",
            EngineProgress("compile", "compiled in 31.20 s", 1.0),
        ),
        (
            "\x1b[32mINFO\x1b[0m 11-21 21:00:40 [backends.py:1167] [backbone] Dynamo bytecode transform time: 4.80 s",
            EngineProgress("compile", "compiling the model"),
        ),
        ('INFO:      - "GET /health HTTP/1.1" 200 OK', None),
        ("", None),
    ],
)
def test_lines_of_a_gpu_and_of_none(line: str, expected: EngineProgress | None) -> None:
    assert progress(line) == expected


def test_the_prefix_goes_and_its_level_is_known() -> None:
    line = "(EngineCore pid=14642) WARNING 11-21 20:59:53 [vllm.py:725] Model Runner V2 requires Triton"
    assert (bare(line), level(line)) == ("Model Runner V2 requires Triton", "WARNING")
    assert (bare("(EngineCore pid=1) Traceback:"), level("(EngineCore pid=1) Traceback:")) == ("Traceback:", None)


@given(st.text(max_size=80))
def test_no_line_breaks_it(line: str) -> None:
    found = progress(line)
    assert found is None or found.stage in ("import", "load", "compile", "serve")
