"""`--engine-arg` and `--env` before an engine sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.engines import options
from lyc.engines.tables import options as known_options
from lyc.engines.versions import pinned
from lyc.errors import SpecError

CPU = pinned(on_cpu=True)


def words(**engine_args: str) -> list[str]:
    options.check(engine_args, CPU)
    return list(options.words(engine_args))


def refusal(name: str, value: str = "1") -> SpecError:
    with pytest.raises(SpecError) as caught:
        options.check({name: value}, CPU)
    assert name in caught.value.where
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max-num-seqs", "8", ["--max-num-seqs=8"]),
        ("max_num_seqs", "8", ["--max-num-seqs=8"]),
        ("--max-num-seqs", "8", ["--max-num-seqs=8"]),
        ("enforce-eager", "true", ["--enforce-eager"]),
        ("enforce-eager", "", ["--enforce-eager"]),
        ("enforce-eager", "false", ["--no-enforce-eager"]),
        ("no-enable-prefix-caching", "true", ["--no-enable-prefix-caching"]),
        ("disable-log-stats", "true", ["--disable-log-stats"]),
        ("disable-log-stats", "false", []),
        ("dtype", "float32", ["--dtype=float32"]),
        ("seed", "-1", ["--seed=-1"]),
        ("cudagraph-capture-sizes", "1,2,4", ["--cudagraph-capture-sizes", "1", "2", "4"]),
        ("lora-modules", '{"name": "a", "path": "/a"}', ["--lora-modules", '{"name": "a", "path": "/a"}']),
        ("hf-overrides", '{"a": 1}', ['--hf-overrides={"a": 1}']),
        ("compilation-config.mode", "3", ["--compilation-config.mode=3"]),
        ("compilation_config.cudagraph_mode", "NONE", ["--compilation-config.cudagraph_mode=NONE"]),
        ("tool-call-parser", "of-a-plugin", ["--tool-call-parser=of-a-plugin"]),
    ],
)
def test_what_is_right_becomes_argv(name: str, value: str, expected: list[str]) -> None:
    assert words(**{name: value}) == expected


@pytest.mark.parametrize(
    "name",
    ["host", "port", "uds", "api-key", "api_key", "model", "served-model-name", "ssl-keyfile", "ssl_certfile",
     "enable-ssl-refresh", "root-path", "config", "middleware", "trust-remote-code", "no-trust-remote-code",
     "data-parallel-size", "speculative-config", "quantization", "max-model-len", "hf-token", "worker-cls",
     "allowed-local-media-path", "tool-parser-plugin", "speculative-config.model", "shutdown-timeout", "grpc"],
)  # fmt: skip
def test_what_lyc_owns_is_refused_with_the_reason(name: str) -> None:
    error = refusal(name)
    assert (error.ref, error.exit_code) == ("owned-engine-arg", 3)
    assert error.why


@pytest.mark.parametrize(
    ("name", "near"),
    [("max-num-seq", "max-num-seqs"), ("enforce-eagr", "enforce-eager"), ("maxnumseqs", "max-num-seqs")],
)
def test_an_unknown_option_is_answered_with_the_nearest(name: str, near: str) -> None:
    error = refusal(name)
    assert error.ref == "bad-engine-arg"
    assert near in error.hint


def test_what_lyc_owns_is_never_suggested() -> None:
    assert "api-key" not in refusal("api-kee").hint


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("dtype", "bfloat61", "bfloat16"),
        ("enforce-eager", "maybe", "=true"),
        ("no-enforce-eager", "false", "enforce-eager=true"),
        ("max-num-seqs", "", "VALUE"),
        ("cudagraph-capture-sizes", "1,,4", "VALUE"),
        ("kv-transfer-config", '{"a": ', "quotes"),
        ("max-num-seqs.x", "1", "drop"),
        ("chat-template", "a\nb", "one line"),
    ],
)
def test_a_value_of_the_wrong_kind(name: str, value: str, part: str) -> None:
    error = refusal(name, value)
    assert error.ref == "bad-engine-arg"
    assert part in error.hint


def test_the_same_option_in_two_spellings() -> None:
    with pytest.raises(SpecError) as caught:
        options.check({"max-num-seqs": "1", "max_num_seqs": "2"}, CPU)
    assert "twice" in caught.value.what


@given(st.sampled_from(sorted(known_options())), st.text(max_size=12))
def test_no_option_and_no_value_breaks_it(name: str, value: str) -> None:
    try:
        options.check({name: value}, CPU)
    except SpecError:
        return
    for word in options.words({name: value}):
        assert "\n" not in word


@pytest.mark.parametrize("name", sorted(options.OWNED_ENV))
def test_environment_that_lyc_owns(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        options.check_env({name: "x"})
    assert (caught.value.ref, bool(caught.value.why)) == ("owned-env", True)
    assert "x" not in (caught.value.what, caught.value.why)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "Ä"])
def test_environment_that_is_none(name: str) -> None:
    with pytest.raises(SpecError):
        options.check_env({name: "x"})


def test_other_environment_passes() -> None:
    options.check_env({"VLLM_LOGGING_LEVEL": "DEBUG", "OMP_NUM_THREADS": "4", "_x": ""})
