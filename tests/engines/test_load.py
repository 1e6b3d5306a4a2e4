"""The load of an engine, out of the text of its metrics."""

from __future__ import annotations

from lyc.engines.load import load
from lyc.records.engine import EngineLoad

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 1.2e+02
vllm:generation_tokens_total{engine="0",model_name="tiny"} 36.0
vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.7e+09
"""


def test_one_engine() -> None:
    assert load(METRICS) == EngineLoad(running=2, waiting=1, kv_usage=0.25, tokens=156)


def test_several_engines_behind_one_server() -> None:
    second = METRICS.replace('engine="0"', 'engine="1"').replace("0.25", "0.75")
    assert load(METRICS + second) == EngineLoad(running=4, waiting=2, kv_usage=0.75, tokens=312)


def test_what_says_nothing() -> None:
    assert load("up 1\n") is None
    assert load("") is None
    assert load(METRICS.replace(" 0.25", " NaN")) == EngineLoad(running=2, waiting=1, kv_usage=None, tokens=156)
