"""What must hold for the KV cache of any model, version and split."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lyc.planning.cache import kv_layout
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheLayout, Serving
from tests.planning.kv_models import GIB, MODELS, layout, stages

VERSIONS = [(0, minor, 0) for minor in range(6, 34)]
models = st.sampled_from(sorted(MODELS)).map(lambda name: MODELS[name])
lengths = st.integers(1, 1 << 20)
available = st.integers(0, 200 * GIB)
servings = st.builds(
    Serving,
    version=st.sampled_from(VERSIONS),
    tp=st.sampled_from([1, 2, 4]),
    pp=st.sampled_from([1, 1, 2, 3]),
    kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
    max_model_len=lengths,
    max_num_batched_tokens=st.sampled_from([512, 2048, 8192]),
    capability=st.sampled_from([None, 80, 90, 100, 120]),
)
quickly = settings(deadline=None, max_examples=150)


@quickly
@given(models, servings, available)
def test_longest_is_the_longest_that_fits(model: ModelFacts, serving: Serving, room: int) -> None:
    found = layout(model, serving)
    longest = kv_layout.longest(found, room, serving)
    assert 0 <= longest <= serving.max_model_len

    def needed(length: int) -> int:
        return _needed(found, length)

    if longest:
        assert needed(longest) <= room
    if longest < serving.max_model_len:
        assert needed(longest + 1) > room


def _needed(found: CacheLayout, length: int) -> int:
    return sum(span.bytes * span.blocks(length) for span in found.spans) + found.reserved * found.block_bytes


@quickly
@given(models, servings)
def test_the_check_counts_the_length_that_was_asked_for(model: ModelFacts, serving: Serving) -> None:
    found = layout(model, serving)
    assert found.request_bytes == _needed(found, serving.max_model_len)


@quickly
@given(models, servings, lengths)
def test_a_longer_text_never_needs_less(model: ModelFacts, serving: Serving, other: int) -> None:
    short, long = sorted((serving.max_model_len, other))
    less, more = (layout(model, replace(serving, max_model_len=length)) for length in (short, long))
    assert less.request_blocks <= more.request_blocks
    assert less.block_bytes == more.block_bytes or model is MODELS["mamba-2.7b"]


@quickly
@given(models, servings, available, available)
def test_more_memory_never_holds_less(model: ModelFacts, serving: Serving, one: int, other: int) -> None:
    found = layout(model, serving)
    less, more = (kv_layout.size(found, room, serving) for room in sorted((one, other)))
    assert less.blocks <= more.blocks
    assert less.tokens <= more.tokens
    assert less.concurrency <= more.concurrency


@quickly
@given(models, servings, available)
def test_blocks_fill_the_memory(model: ModelFacts, serving: Serving, room: int) -> None:
    found = layout(model, serving)
    if found.groups:
        blocks = kv_layout.size(found, room, serving).blocks
        assert blocks * found.block_bytes <= room < (blocks + 1) * found.block_bytes


@quickly
@given(models, servings)
def test_a_smaller_type_never_takes_more_a_token(model: ModelFacts, serving: Serving) -> None:
    wide, narrow = (layout(model, replace(serving, kv_cache_dtype=name)) for name in ("float32", "fp8"))
    if wide.groups and narrow.block_tokens == wide.block_tokens:
        assert narrow.block_bytes <= wide.block_bytes


@quickly
@given(models, servings)
def test_more_gpus_never_take_more_of_each(model: ModelFacts, serving: Serving) -> None:
    whole, split = (layout(model, replace(serving, tp=tp)) for tp in (1, 2))
    assert split.block_bytes / max(split.block_tokens, 1) <= whole.block_bytes / max(whole.block_tokens, 1)


@quickly
@given(models, servings)
def test_stages_add_up_to_the_whole(model: ModelFacts, serving: Serving) -> None:
    """With one group, a block of the whole model is as large as those of its stages together."""
    parts = [layout(model, serving, at) for at in range(len(stages(model, serving)))]
    whole = layout(model, replace(serving, pp=1))
    projected = serving.version >= (0, 17) or model is not MODELS["glm-5"]
    if whole.groups == 1 and projected:
        assert sum(part.block_bytes for part in parts) == whole.block_bytes
    assert all(part.block_bytes <= whole.block_bytes for part in parts)


@quickly
@given(models, servings, available)
def test_concurrency_is_blocks_over_those_of_a_request(model: ModelFacts, serving: Serving, room: int) -> None:
    found = layout(model, serving)
    if found.groups and serving.version >= (0, 9):
        size = kv_layout.size(found, room, serving)
        assert size.concurrency == size.blocks / found.request_blocks
