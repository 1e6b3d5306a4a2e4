"""What vLLM says of its memory, out of logs that were kept and lines of other versions."""

from __future__ import annotations

from pathlib import Path

from lyc.engines import reported
from lyc.records.engine import Reported
from lyc.units import GIB

LOGS = Path(__file__).parent / "logs"


def of(lines: list[str]) -> Reported:
    said = Reported()
    for line in lines:
        said = reported.heard(said, line)
    return said


def test_a_start_on_the_cpu() -> None:
    said = of((LOGS / "eager.txt").read_text().splitlines())
    assert (said.kv_tokens, said.concurrency) == (131072, 128.0)
    assert said.kv_cache == round(0.06 * GIB)


def test_the_lines_of_a_gpu_older_and_newer() -> None:
    said = of(
        [
            "(EngineCore pid=1) INFO 11-21 20:59:52 [gpu_model_runner.py:1] Model loading took 14.99 GiB memory",
            "(EngineCore pid=1) INFO 11-21 20:59:52 [gpu_worker.py:1] Available KV cache memory: 58.11 GiB",
            "(EngineCore pid=1) INFO 11-21 20:59:52 [kv_cache_utils.py:1] GPU KV cache size: 476,016 tokens",
            "(EngineCore pid=1) INFO 11-21 20:59:52 [x.py:1] Maximum concurrency for 8,192 tokens per request: 58.11x",
            "(EngineCore pid=1) INFO 11-21 20:59:52 [x.py:1] Graph capturing finished in 9 secs, took 0.91 GiB",
            "(EngineCore pid=2) INFO 11-21 20:59:52 [gpu_worker.py:1] Available KV cache memory: 57.00 GiB",
        ]
    )
    assert said == Reported(
        weights=round(14.99 * GIB),
        kv_cache=round(58.11 * GIB),
        cuda_graph=round(0.91 * GIB),
        kv_tokens=476016,
        concurrency=58.11,
    )


def test_blocks_come_from_the_metrics() -> None:
    labels = 'block_size="16",engine="0",num_cpu_blocks="None",num_gpu_blocks="29751"'
    text = f"vllm:x 1\nvllm:cache_config_info{{{labels}}} 1.0\n"
    assert reported.blocks(text) == 29751
    assert reported.blocks("vllm:x 1\n") is None
