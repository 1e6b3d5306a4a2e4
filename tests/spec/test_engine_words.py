"""vLLM's options as text, and wishes that contradict one another."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lyc.errors import LycError, SpecError, UsageError
from lyc.records.wish import Wish
from lyc.spec.engine_words import CACHE_DTYPES, QUANTIZATIONS, check_length, engine_wish, settled, vllm_version

VERSION = (0, 19, 0)


def wrong(name: str, why: str, hint: str) -> LycError:
    return UsageError("invalid-value", name, why=why, hint=hint)


def read(**words: str) -> Wish:
    return engine_wish({name.replace("_", "-"): text for name, text in words.items()}, version=VERSION, wrong=wrong)


def test_every_option_is_read() -> None:
    assert read(
        tensor_parallel_size="2", pipeline_parallel_size="4", quantization="FP8", dtype="half", kv_cache_dtype="fp8",
        max_model_len="8k", max_num_seqs="1024", max_num_batched_tokens="8192", gpu_memory_utilization="0.95",
        block_size="16", enforce_eager="true", kv_cache_memory_bytes="4GiB", max_loras="3", something_else="x",
    ) == Wish(
        VERSION, tp=2, pp=4, quantization="fp8", dtype="float16", kv_cache_dtype="fp8", max_model_len=8192,
        max_num_seqs=1024, max_num_batched_tokens=8192, utilization=Fraction(95, 100), block_size=16,
        enforce_eager=True, kv_cache_bytes=4 << 30, max_loras=3,
    )  # fmt: skip


def test_what_is_not_said_is_left_to_the_planner() -> None:
    assert read() == Wish(VERSION)
    assert read(dtype="auto", enforce_eager="false") == Wish(VERSION)
    assert read(gpu_memory_utilization="1").utilization == 1


@pytest.mark.parametrize(
    ("name", "text", "why", "hint"),
    [
        ("tensor_parallel_size", "0", "'0' is no whole number above 0", ""),
        ("tensor_parallel_size", "-1", "'-1' is no whole number above 0", ""),
        ("tensor_parallel_size", "two", "'two' is no whole number above 0", ""),
        ("tensor_parallel_size", "²", "'²' is no whole number above 0", ""),
        ("max_num_seqs", str(1 << 40), "is no whole number above 0", ""),
        ("max_model_len", "long", "'long' is not a number of tokens", ""),
        ("max_model_len", "0", "0 tokens cannot be", ""),
        ("max_model_len", "-5", "'-5' is not a number of tokens", ""),
        ("kv_cache_memory_bytes", "much", "'much' is not a size", ""),
        ("kv_cache_memory_bytes", "0GiB", "nothing fits into 0 bytes", ""),
        ("gpu_memory_utilization", "0", "above 0, at most 1", ""),
        ("gpu_memory_utilization", "1.01", "above 0, at most 1", ""),
        ("gpu_memory_utilization", "92", "above 0, at most 1", "92 % is written 0.92"),
        ("gpu_memory_utilization", "nan", "'nan' is no number", "write it like 0.92"),
        ("gpu_memory_utilization", "-0.5", "'-0.5' is no number", "write it like 0.92"),
        ("enforce_eager", "maybe", "'maybe' is neither true nor false", ""),
        ("quantization", "fp88", "vLLM knows no 'fp88'", "did you mean fp8"),
        ("quantization", "awq_marlni", "vLLM knows no 'awq_marlni'", "did you mean awq_marlin"),
        ("quantization", "zzz", "vLLM knows no 'zzz'", "known are "),
        ("kv_cache_dtype", "fp8_e4m4", "vLLM knows no 'fp8_e4m4'", "did you mean fp8_e4m3"),
        ("dtype", "int8", "vLLM knows no 'int8'", "known are auto, half"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(name: str, text: str, why: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(**{name: text})
    assert caught.value.what == name.replace("_", "-")
    assert why in caught.value.why
    assert caught.value.hint.startswith(hint) if hint else caught.value.hint == ""


def test_every_known_name_is_taken() -> None:
    assert {read(quantization=name).quantization for name in QUANTIZATIONS} == set(QUANTIZATIONS)
    assert {read(kv_cache_dtype=name).kv_cache_dtype for name in CACHE_DTYPES} == set(CACHE_DTYPES)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.19.0", (0, 19, 0)),
        ("v0.19.1", (0, 19, 1)),
        ("0.19", (0, 19, 0)),
        ("0.8.5.post1", (0, 8, 5)),
        ("0.15.2rc1.dev93", (0, 15, 2)),
        ("0.32.0+cpu", (0, 32, 0)),
        ("1.0.0", (1, 0, 0)),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert vllm_version(text) == version


@pytest.mark.parametrize("text", ["", "latest", "19", "0.19.x", "0,19", "0.19.0 beta", "-0.1.2", "0.19.0.0.0.1x", "²"])
def test_no_versions(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        vllm_version(text)
    assert (caught.value.ref, caught.value.where) == ("invalid-version", "--vllm-version")


@pytest.mark.parametrize(
    ("wish", "count"),
    [
        (Wish(VERSION), None),
        (Wish(VERSION, tp=2), 2),
        (Wish(VERSION, tp=2, pp=2), 4),
        (Wish(VERSION, count=4, tp=2, pp=2), 4),
        (Wish(VERSION, count=4, tp=2), 4),
        (Wish(VERSION, count=4, pp=4), 4),
        (Wish(VERSION, max_model_len=8192, context=8192), None),
    ],
)
def test_a_wish_that_can_be(wish: Wish, count: int | None) -> None:
    assert settled(wish).count == count


@pytest.mark.parametrize(
    ("wish", "where", "why"),
    [
        (Wish(VERSION, count=2, tp=4), "--count", "2 cards cannot be split 4 ways"),
        (Wish(VERSION, count=4, tp=3), "--count", "4 cards cannot be split 3 ways"),
        (Wish(VERSION, count=8, tp=2, pp=2), "--count", "--tp 2 and --pp 2 are 4 cards, not 8"),
        (Wish(VERSION, max_model_len=4096, context=8192), "--context", "8192 tokens do not fit into"),
    ],
)
def test_a_wish_that_contradicts_itself(wish: Wish, where: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        settled(wish)
    assert (caught.value.ref, caught.value.where) == ("contradictory-wish", where)
    assert why in caught.value.why


def test_a_model_reads_no_more_than_it_can() -> None:
    check_length(Wish(VERSION, max_model_len=8192, context=8192), 8192)
    check_length(Wish(VERSION, max_model_len=1 << 20), None)
    for wish, flag in (
        (Wish(VERSION, max_model_len=8193), "--max-model-len"),
        (Wish(VERSION, context=9000), "--context"),
    ):
        with pytest.raises(SpecError) as caught:
            check_length(wish, 8192)
        assert (caught.value.ref, caught.value.where) == ("max-model-len-too-large", flag)
