"""What was served, read from the log that the real gateway writes, and from logs as they may be found."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lyc.gateway.traffic import access_log, merged, traffic
from lyc.records.traffic import Served
from tests.gateway.rig import Rig, StandIn, until


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def line(ts: str, **changes: object) -> str:
    entry = {
        "ts": f"{ts}Z", "deployment": "a", "replica": "a-1-x", "method": "POST", "status": 200, "ms": 1000,
        "prompt_tokens": 10, "completion_tokens": 5,
    }  # fmt: skip
    return json.dumps(entry | changes) + "\n"


def test_what_the_gateway_writes_is_understood(rig: Rig, alpha: StandIn) -> None:
    rig.chat(max_tokens=7)
    rig.chat(max_tokens=5, stream=True)
    rig.call("POST", "/alpha/v1/audio/speech", json={"input": "x"})
    rig.call("GET", "/alpha/v1/models")
    rig.call("GET", "/alpha/v1/models", None)  # refused: reaches nobody
    rig.chat("beta", "beta")  # no replica
    lines = until(lambda: (got := rig.logged()) and len(got) == 6 and got, "all are logged")
    log = access_log(rig.home / "config")
    assert log == rig.access_log
    found = traffic(log)
    assert found.reaches is None
    assert found.served == {("alpha", lines[0]["ts"][:10]): Served(4, 6, 12, 1)}
    (first, *_), busy = found.busy["alpha"], found.busy
    assert set(busy) == {"alpha"}
    assert abs(first[0] - datetime.fromisoformat(lines[0]["ts"]).timestamp()) < 1e-6


def test_the_activator_stands_for_a_replica_only_where_it_passed_a_stream_on(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text(
        line("2026-11-20T10:00:00.000", replica="activator")
        + line("2026-11-20T10:00:00.000", replica="activator", status=503, prompt_tokens=None)
        + line("2026-11-20T10:00:00.000", replica="activator", status=429, prompt_tokens=None)
        + line("2026-11-20T10:00:00.000", replica="activator", status=0, prompt_tokens=None)
    )
    assert traffic(log).served == {("a", "2026-11-20"): Served(1, 10, 5)}


def test_a_log_that_was_put_away_counts_too_and_says_how_far_it_reaches(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    assert traffic(log) == traffic(tmp_path / "nowhere.jsonl")
    assert traffic(log).served == {}
    log.write_text(line("2026-11-21T00:30:00.500"))
    assert traffic(log).reaches is None
    log.with_name("access.jsonl.1").write_text(line("2026-11-20T23:00:00.000") + line("2026-11-20T23:59:59.900"))
    found = traffic(log)
    assert found.reaches == at("2026-11-20T23:00")
    assert found.served == {("a", "2026-11-20"): Served(2, 20, 10), ("a", "2026-11-21"): Served(1, 10, 5)}
    assert [end - begin for begin, end in found.busy["a"]] == [1, 1, 1]


def test_a_span_is_of_the_requests_that_began_in_it(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text("".join(line(f"2026-11-20T10:0{minute}:00.000") for minute in range(5)))
    found = traffic(log, since=at("2026-11-20T10:01"), until=at("2026-11-20T10:03"))
    assert found.served == {("a", "2026-11-20"): Served(2, 20, 10)}


def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    odd = ['{"ts": "2026-11-2', "[]", "null", "", '{"ts": 7}', '{"ts": "yesterday", "deployment": "a"}', "\x00\x00"]
    log.write_text("\n".join(odd) + "\n" + line("2026-11-20T10:00:00.000", ms=None) + '{"ts":')
    assert traffic(log).served == {("a", "2026-11-20"): Served(1, 10, 5)}


def test_requests_without_a_replica_or_tokens(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text(
        line("2026-11-20T10:00:00.000", replica=None)
        + line("2026-11-20T10:00:00.000", deployment=None)
        + line("2026-11-20T10:00:00.000", prompt_tokens=None, completion_tokens=None)
        + line("2026-11-20T10:00:00.000", prompt_tokens=None, completion_tokens=None, status=500)
        + line("2026-11-20T10:00:00.000", prompt_tokens=None, completion_tokens=None, method="GET")
    )
    assert traffic(log).served == {("a", "2026-11-20"): Served(3, 0, 0, 1)}


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)).map(lambda one: (one[0], one[0] + one[1])))


@given(spans)
def test_merged_spans_cover_the_same_time_once(some: list[tuple[float, float]]) -> None:
    found = merged(some)
    seconds = {second for begin, end in some for second in range(int(begin), int(end))}
    assert sum(end - begin for begin, end in found) == len(seconds)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))
