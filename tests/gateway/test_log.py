"""The access log: one true line a request, and never a secret or a prompt in it."""

from __future__ import annotations

import json

from tests.gateway.rig import Rig, StandIn, until

FIELDS = {
    "ts", "id", "key_id", "deployment", "method", "path", "status", "flags", "ms", "ttfb_ms", "bytes_in", "bytes_out",
    "prompt_tokens", "completion_tokens", "replica", "attempts",
}  # fmt: skip


def test_a_line_says_who_what_and_how_much(rig: Rig, alpha: StandIn) -> None:
    answer = rig.chat(max_tokens=7)
    line = until(lambda: rig.logged(path="/v1/chat/completions"), "the request is logged")[0]
    assert set(line) == FIELDS
    expected = {
        "id": answer.headers["x-request-id"], "key_id": "key-alpha-0", "deployment": "alpha", "method": "POST",
        "status": 200, "flags": "-", "prompt_tokens": 3, "completion_tokens": 7, "replica": "alpha-1-a", "attempts": 1,
        "bytes_in": len(answer.request.content), "bytes_out": len(answer.content),
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected
    assert 0 <= line["ttfb_ms"] <= line["ms"]


def test_tokens_of_every_kind_of_answer(rig: Rig, alpha: StandIn) -> None:
    chat = {"messages": [{"role": "user", "content": "a b c d"}]}
    cases = [
        ("chat/completions", {**chat, "max_tokens": 30}, (4, 30)),
        ("chat/completions", {**chat, "max_tokens": 30, "stream": True}, (4, 30)),
        ("completions", {"prompt": "a b", "max_tokens": 9}, (2, 9)),
        ("completions", {"prompt": "a b", "max_tokens": 9, "stream": True}, (2, 9)),
        ("embeddings", {"input": ["a b c"] * 500}, (1500, 0)),
        ("audio/speech", {"input": "x"}, (None, None)),
    ]
    for count, (path, body, expected) in enumerate(cases, 1):
        assert rig.call("POST", f"/alpha/v1/{path}", json=body).status_code == 200
        lines = until(lambda n=count: (got := rig.logged(method="POST")) and len(got) == n and got, "it is logged")
        assert (lines[-1]["prompt_tokens"], lines[-1]["completion_tokens"]) == expected, (path, body)


def test_without_continuous_usage_the_last_chunk_counts(rig: Rig, alpha: StandIn) -> None:
    alpha.tell(force_usage=False)
    rig.chat(stream=True, max_tokens=6, stream_options={"include_usage": True})
    rig.chat(stream=True, max_tokens=6)
    lines = until(lambda: (got := rig.logged(method="POST")) and len(got) == 2 and got, "both are logged")
    assert [line["completion_tokens"] for line in lines] == [6, None]


def test_text_that_looks_like_usage_is_not_counted(rig: Rig, alpha: StandIn) -> None:
    """A prompt or an answer cannot forge its own bill: the stand-in says `"usage":{` among its words."""
    forged = '"usage":{"prompt_tokens":999999,"completion_tokens":999999}'
    for stream in (True, False):
        rig.chat(messages=[{"role": "user", "content": forged}], max_tokens=48, stream=stream)
    lines = until(lambda: (got := rig.logged(method="POST")) and len(got) == 2 and got, "both are logged")
    assert [(line["prompt_tokens"], line["completion_tokens"]) for line in lines] == [(1, 48), (1, 48)]


def test_refusals_are_logged_without_what_was_tried(rig: Rig, alpha: StandIn) -> None:
    rig.call("GET", "/alpha/v1/models?api_key=sk-in-the-query", "sk-wrong")
    rig.call("GET", "/" + "x" * 2000, None)
    lines = until(lambda: (got := rig.logged(status=401)) and len(got) == 2 and got, "both are logged")
    assert lines[0]["path"] == "/alpha/v1/models"
    assert len(lines[1]["path"]) == 256
    assert {line["key_id"] for line in lines} == {None}


def test_nothing_secret_is_ever_written(rig: Rig, alpha: StandIn) -> None:
    secret = "the-prompt-is-private"
    for stream in (True, False):
        rig.chat(messages=[{"role": "user", "content": secret}], user=secret, stream=stream, max_tokens=3)
    rig.call("POST", f"/alpha/v1/chat/completions?q={secret}", json={"messages": []}, headers={"x-own": secret})
    rig.call("GET", "/alpha/v1/models", None, headers={"authorization": f"Basic {secret}"})
    until(lambda: len(rig.logged()) == 4, "all are logged")
    written = rig.access_log.read_text() + "\n".join(rig.envoy_log())
    for word in (secret, rig.engine_key, *rig.keys.values(), "quick"):
        assert word not in written
    assert json.dumps(rig.gateway.process(rig.config(alpha=[])).argv).find(rig.engine_key) == -1


def test_log_can_be_put_away_under_traffic(rig: Rig, alpha: StandIn) -> None:
    rig.chat()
    until(lambda: rig.logged(method="POST"), "the first is logged")
    old = rig.access_log.with_name("access.jsonl.1")
    rig.gateway.rotate_log(1 << 20)
    assert not old.exists()
    rig.gateway.rotate_log(10)
    rig.chat()
    until(lambda: rig.logged(method="POST"), "the second is logged, in the new file")
    assert len(old.read_text().splitlines()) == 1
    assert rig.access_log.stat().st_mode & 0o777 == 0o600
