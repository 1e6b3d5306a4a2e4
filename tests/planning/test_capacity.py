"""How many requests a replica is taken to hold."""

from __future__ import annotations

from dataclasses import replace

from lyc.planning.capacity import REQUEST_TOKENS, SEQUENCES, capacity
from lyc.records.engine import Reported
from lyc.records.plan import EngineBuild, Forecast, Plan

PLAN = Plan(EngineBuild("vllm", "0.32.0"), "h100", max_model_len=8192)
ROOM = Forecast(weights=1, kv_cache=1, kv_tokens=100 * REQUEST_TOKENS + 5, kv_blocks=1, concurrency=1.0)


def test_by_the_forecast_of_the_cache() -> None:
    assert capacity(replace(PLAN, forecast=ROOM), None) == 100


def test_what_the_engine_has_reported_counts_more() -> None:
    assert capacity(replace(PLAN, forecast=ROOM), Reported(kv_tokens=40 * REQUEST_TOKENS)) == 40
    assert capacity(replace(PLAN, forecast=ROOM), Reported(weights=1)) == 100, "of its cache it has said nothing"


def test_where_nothing_is_known_of_the_cache() -> None:
    assert capacity(PLAN, None) == SEQUENCES


def test_no_more_than_the_engine_runs_at_once() -> None:
    large = replace(ROOM, kv_tokens=10**9)
    assert capacity(replace(PLAN, forecast=large), None) == SEQUENCES
    assert capacity(replace(PLAN, forecast=large, engine_args={"max-num-seqs": "16"}), None) == 16


def test_requests_are_no_longer_than_the_model_takes() -> None:
    assert capacity(replace(PLAN, forecast=ROOM, max_model_len=REQUEST_TOKENS // 4), None) == SEQUENCES
    small = replace(ROOM, kv_tokens=REQUEST_TOKENS)
    assert capacity(replace(PLAN, forecast=small, max_model_len=REQUEST_TOKENS // 4), None) == 4


def test_one_request_at_least() -> None:
    assert capacity(replace(PLAN, forecast=replace(ROOM, kv_tokens=7)), None) == 1
