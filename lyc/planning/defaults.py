"""vLLM's options where nobody named them: what its OpenAI server picks by version, card and model. Pure."""

from __future__ import annotations

from fractions import Fraction

from lyc.planning.activation.runner import V0, engine
from lyc.records.architecture import Architecture, Mixer
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving
from lyc.records.wish import Wish
from lyc.units import GIB

Version = tuple[int, ...]

LONGEST_WITHOUT_CHUNKS = 32768
"""Tokens: a longer context made V0 split prefills by itself."""
_HALVES = ("bfloat16", "float16")
_NAMES = {"half": "float16", "float": "float32", "bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_POOLERS = (
    "Model",
    "RewardModel",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForMaskedLM",
    "ForRetrieval",
)
_ASSUMED_LENGTH = 2048
"""Tokens: what vLLM takes where config.json names no length (config.py `_get_and_verify_max_len`)."""


def serving(
    facts: ModelFacts,
    card: Card,
    wish: Wish,
    *,
    tp: int,
    pp: int,
    quantization: str | None = None,
) -> Serving:
    """Every option decided: the wish's own where it has one, else the default of `vllm serve` at `wish.version`.

    quantization: a method to apply to weights that have none; None = as the checkpoint is. `facts.architecture` may be
    None: then the length is taken from `facts`. `utilization` is exact (0.92 is 23/25). Two things a wish cannot have:
    max_num_seqs above max_num_batched_tokens (vLLM refuses; it is cut, as vLLM cuts its own default), and a length
    below 1.
    Sources: `engine/arg_utils.py` create_engine_config and get_batch_defaults, `config/model.py` _resolve_auto_dtype,
    each at the versions named below.
    """
    version = wish.version
    length = max(wish.max_model_len or model_length(facts), 1)
    dtype = _dtype(facts, card, wish)
    method = quantization or in_force(facts, card, version)
    generation = engine(version, card, facts, dtype=dtype, kv_cache_dtype=wish.kv_cache_dtype or "auto", pp=pp)
    seqs, tokens = _batch(facts, card, wish, length, old=generation == V0, world=tp * pp)
    return Serving(
        version=version,
        tp=tp,
        pp=pp,
        dtype=dtype,
        quantization=method,
        kv_cache_dtype=wish.kv_cache_dtype or "auto",
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        utilization=wish.utilization if wish.utilization is not None else utilization(version),
        block_size=wish.block_size,
        enforce_eager=wish.enforce_eager,
        on_cpu=wish.on_cpu,
        kv_cache_bytes=wish.kv_cache_bytes,
        draft=wish.draft,
        adapter=wish.adapter,
        max_loras=wish.max_loras,
        capability=card.compute_capability,
    )


def utilization(version: Version) -> Fraction:
    """`--gpu-memory-utilization`: 0.9, and 0.92 since 0.20.0, which began to count CUDA graphs (`config/cache.py`)."""
    return Fraction(92, 100) if version >= (0, 20) else Fraction(90, 100)


def model_length(facts: ModelFacts) -> int:
    """The model's own length in tokens; where nothing tells, what vLLM assumes."""
    positions = facts.architecture.positions if facts.architecture else None
    return positions or facts.max_position_embeddings or _ASSUMED_LENGTH


def pools(facts: ModelFacts) -> bool:
    """Whether the model embeds or scores, by the name of its class: no sampler then."""
    name = facts.architecture.name if facts.architecture else "".join(facts.architectures[:1])
    return name.endswith(_POOLERS) and "Omni" not in name


def in_force(facts: ModelFacts, card: Card, version: Version) -> str | None:
    """The method that vLLM runs a checkpoint's quantization with: Marlin for GPTQ and AWQ where the card has it.

    `layers/quantization/{gptq,awq}_marlin.py` override_quantization_method: compute capability 8.0 (7.5 since 0.16),
    symmetric 4 or 8 bit GPTQ, 4 bit AWQ with zero points.
    """
    method, detail = facts.quantization, facts.quantization_detail
    bits = detail.get("bits", detail.get("w_bit"))
    marlin = (card.compute_capability or 0) >= (75 if version >= (0, 16) else 80)
    if method == "gptq" and marlin and bits in (4, 8) and detail.get("sym", True) is True:
        return "gptq_marlin"
    if method == "awq" and marlin and bits in (4, None) and detail.get("zero_point", True) is True:
        return "awq_marlin"
    if method == "modelopt" and "FP4" in str(detail.get("quant_algo", "")).upper():
        return "modelopt_fp4"
    return method


def _dtype(facts: ModelFacts, card: Card, wish: Wish) -> str:
    """Of activations. float32 models run in 16 bit; a card below 8.0 has no bfloat16 and takes float16."""
    asked = (wish.dtype or "auto").lower()
    if asked != "auto":
        return _NAMES.get(asked, asked)
    own = (facts.architecture.dtype if facts.architecture else facts.dtype) or "float32"
    own = _NAMES.get(own, own)
    has_bf16 = wish.on_cpu or card.compute_capability is None or card.compute_capability >= 80
    if own == "bfloat16" or own not in _HALVES:
        # Until 0.9 a float32 model became float16 (config.py), since then what the card prefers.
        if own == "bfloat16" or wish.version >= (0, 10):
            return "bfloat16" if has_bf16 else "float16"
        return "float16"
    return own


def _batch(facts: ModelFacts, card: Card, wish: Wish, length: int, *, old: bool, world: int) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens)."""
    if old:
        seqs = wish.max_num_seqs or 256
        return seqs, wish.max_num_batched_tokens or _tokens_v0(facts, wish, length)
    default_seqs, default_tokens = (128 * world, 2048 * world) if wish.on_cpu else server_batch(card, wish.version)
    tokens = wish.max_num_batched_tokens
    if tokens is None:
        tokens = default_tokens
        if pools(facts):  # `enable_chunked_prefill` is off for pooling by anything but the last token
            tokens = max(tokens, length)
        if wish.version >= (0, 11, 1):
            tokens = min(tokens, (wish.max_num_seqs or default_seqs) * length)
    return min(wish.max_num_seqs or default_seqs, tokens), tokens


def server_batch(card: Card, version: Version) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens) of the V1 OpenAI server by the card's nominal memory.

    `engine/arg_utils.py` get_batch_defaults: a card of 70 GiB gets the large batch; the A100 not, since 0.9; GB10 not,
    since 0.33; 160 GiB get a still larger one since 0.28.
    """
    a100, gb10 = "a100" in card.product.lower(), card.compute_capability == 121
    if version >= (0, 28) and card.memory >= 160 * GIB:
        return 1024, 16384
    if card.memory >= 70 * GIB and not (a100 and version >= (0, 9)) and not (gb10 and version >= (0, 33)):
        return 1024, 8192
    return 256, 2048


def _tokens_v0(facts: ModelFacts, wish: Wish, length: int) -> int:
    """Whole prompts at once, so at least the length; long contexts are split by 2048 (config.py SchedulerConfig)."""
    architecture = facts.architecture
    towers = bool(architecture and architecture.towers)
    pooling = pools(facts)
    split = (
        length > LONGEST_WITHOUT_CHUNKS
        and not (towers or pooling or wish.draft or wish.adapter)
        and not (architecture and _slides_or_latent(architecture))
    )
    tokens = 2048 if split else max(length, 2048)
    if pooling:
        tokens = max(tokens, 32768)
    return max(tokens, 5120) if towers else tokens


def _slides_or_latent(architecture: Architecture) -> bool:
    return any(layer.mixer in (Mixer.SLIDING, Mixer.LATENT) for layer in architecture.layers)
