"""The KV cache of one pipeline stage: bytes of a block, blocks of a request, and what vLLM reports of it.

`layout` is what vLLM decides before it knows the memory; `size` and `longest` are what it makes of the memory. The
integers are those of vLLM's log lines: "GPU KV cache size", "Maximum concurrency", `num_gpu_blocks`, and the estimate
of its refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

from lyc.planning.cache import blocks as cache_blocks
from lyc.planning.cache import groups as cache_groups
from lyc.planning.cache.groups import Group
from lyc.planning.cache.rules import Rules, rules
from lyc.planning.cache.specs import Keeps, Spec, Specs, specs
from lyc.records.architecture import Architecture
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheLayout, CacheSize, Serving, Span, Stage

_ONE_BY_ONE = frozenset({"suffix", "ngram", "medusa", "mlp_speculator"})
"""Ways to speculate that keep the engine from preparing the next batch ahead (vllm/config/vllm.py, 0.26.0)."""


def layout(facts: ModelFacts, serving: Serving, stage: Stage) -> CacheLayout:
    """How the cache of this stage is laid out. No cache (zero groups) without an architecture or without keys."""
    architecture = facts.architecture
    if architecture is None:
        return CacheLayout(0, 0, 0, 0, band=1.0)
    rule = rules(serving.version)
    kept = specs(facts, architecture, serving, rule)
    found = cache_groups.groups(kept.by_spec, rule, stage)
    if not any(group.layers for group in found):
        return CacheLayout(0, 0, 0, 0, "no keys are kept", _source(serving), kept.band)
    block = max(group.size for group in found)
    held = _Held.of(architecture, serving, rule)
    spans = _checked(kept, found, stage, held)
    length = serving.max_model_len
    return CacheLayout(
        block_bytes=block,
        groups=len(found),
        block_tokens=min(group.spec.tokens or length for group in found),
        request_blocks=sum(held.span(group.spec, 0).blocks(length) for group in found),
        formula=_formula(found, block),
        source=_source(serving),
        band=kept.band,
        spans=spans,
        checked_bytes=sum(span.bytes * span.blocks(length) for span in spans),
        reserved=1 if rule.null_block else 0,
    )


def size(layout: CacheLayout, available: int, serving: Serving) -> CacheSize:
    """What vLLM reports of `available` bytes. No block fits → zeros; no cache at all → one block, as it reports."""
    if not layout.groups:
        return CacheSize(1, 0, 0.0)
    return of_blocks(layout, max(available, 0) // layout.block_bytes, serving)


def of_blocks(layout: CacheLayout, blocks: int, serving: Serving) -> CacheSize:
    """The same where the number of blocks is given: by another stage, which has fewer.

    vllm/v1/core/kv_cache_utils.py get_max_concurrency_for_kv_cache_config and _report_kv_cache_config.
    """
    length = serving.max_model_len
    if serving.version < (0, 9):
        tokens = blocks * layout.block_tokens
        return CacheSize(blocks, tokens, tokens / length)
    concurrency = blocks / layout.request_blocks
    if rules(serving.version).by_request:
        return CacheSize(blocks, int(concurrency * length), concurrency)
    return CacheSize(blocks, blocks // layout.groups * layout.block_tokens, concurrency)


def longest(layout: CacheLayout, available: int, serving: Serving) -> int:
    """The longest max_model_len up to the one asked for that `available` bytes serve; 0 = not one token.

    vllm/v1/core/kv_cache_utils.py estimate_max_model_len.
    """
    room = available - layout.reserved * layout.block_bytes
    low, high = 0, serving.max_model_len
    while low < high:
        middle = (low + high + 1) // 2
        if sum(span.bytes * span.blocks(middle) for span in layout.spans) <= room:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True)
class _Held:
    """What one request holds beyond its own length. flight: tokens under way. states: of each recurrent layer."""

    rules: Rules
    flight: int
    states: int

    @staticmethod
    def of(architecture: Architecture, serving: Serving, rule: Rules) -> _Held:
        flight = serving.max_num_batched_tokens * (_batches(serving) if rule.in_flight else 1)
        return _Held(rule, flight, _states(architecture, serving, rule))

    def span(self, spec: Spec, size: int) -> Span:
        """Of a layer, whose blocks count `size` bytes. vllm/v1/kv_cache_interface.py max_memory_usage_bytes."""
        match spec.keeps:
            case Keeps.ALL:
                return Span(spec.tokens, size)
            case Keeps.WINDOW:
                return Span(spec.tokens, size, spec.reach - 1 + self.flight, 1)
            case Keeps.CHUNK:
                return Span(spec.tokens, size, spec.reach + self.flight)
            case Keeps.STATE:
                return Span(0, size, extra=self.states)


def _checked(kept: Specs, found: tuple[Group, ...], stage: Stage, held: _Held) -> tuple[Span, ...]:
    """What the start check counts: layers before 0.14, then groups (until 0.19 the first, as often as all of them)."""
    if not held.rules.grouped_check:
        layers = kept.by_spec.items()
        return tuple(held.span(spec, spec.page * len(cache_groups.on(stage, numbers))) for spec, numbers in layers)
    counted = found[:1] if held.rules.first_check else found
    size = max(group.size if held.rules.projected else group.whole for group in found)
    return tuple(held.span(group.spec, size) for group in counted)


def _states(architecture: Architecture, serving: Serving, rule: Rules) -> int:
    """States of one request: one, one more where prefixes are cached, and one for each speculated token.

    vllm/v1/kv_cache_interface.py MambaSpec.max_memory_usage_bytes, mode `align` or `none`.
    """
    held = 1
    attends = any(layer.kv_heads or layer.latent for layer in architecture.layers)
    if rule.hybrid_prefixes and attends:
        held = 3 if cache_blocks.exports_checkpoints(architecture.layers, architecture.name, serving) else 2
    return held + (serving.draft.tokens if serving.draft and rule.draft_states else 0)


def _batches(serving: Serving) -> int:
    """Batches under way at once: vllm/config/vllm.py max_concurrent_batches, 0.26.0."""
    one_by_one = _ONE_BY_ONE if serving.version >= (0, 28) else _ONE_BY_ONE | {"draft_model"}
    apart = serving.draft is not None and serving.draft.method in one_by_one
    if apart or serving.on_cpu:
        return serving.pp
    if serving.pp > 1 and serving.version < (0, 30):
        return serving.pp
    return serving.pp + 1


def _formula(found: tuple[Group, ...], block: int) -> str:
    largest = max(found, key=lambda group: group.size)
    text = f"{largest.text or f'{largest.spec.text} × {largest.layers} layers'} = {block} B a block"
    if len(found) == 1:
        return text
    kinds: dict[tuple[Keeps, int], int] = {}
    for group in found:
        key = (group.spec.keeps, group.spec.reach)
        kinds[key] = kinds.get(key, 0) + 1
    names = ", ".join(f"{count} of {_kind(*key)}" for key, count in kinds.items())
    return f"{text}; {len(found)} groups: {names}"


def _kind(keeps: Keeps, reach: int) -> str:
    match keeps:
        case Keeps.ALL:
            return "all tokens"
        case Keeps.WINDOW:
            return f"the last {reach} tokens"
        case Keeps.CHUNK:
            return f"chunks of {reach} tokens"
        case Keeps.STATE:
            return "states"


def _source(serving: Serving) -> str:
    if serving.version < (0, 8):
        return "vllm/worker/cache_engine.py get_cache_block_size"
    return "vllm/v1/kv_cache_interface.py, vllm/v1/core/kv_cache_utils.py get_kv_cache_configs"
