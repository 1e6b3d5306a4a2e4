"""Which kind each layer is of, by the many ways in which families write it down. One word a layer.

Words: `full_attention`, `sliding_attention`, `chunked_attention`, `linear_attention`, `mamba`, `conv`, `moe`, `mlp`,
`hybrid` (attention and a state side by side), and what else config.json may say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lyc.inspection.settings import Settings

_LETTERS = {"M": "mamba", "*": "full_attention", "-": "mlp", "E": "moe"}
"""Of Nemotron-H's `hybrid_override_pattern`; `|` separates pipeline stages."""
_EVERY: Mapping[str, tuple[int, str]] = {
    "gemma2": (2, "sliding_attention"), "gemma3_text": (6, "sliding_attention"), "cohere2": (4, "sliding_attention"),
    "gemma3n_text": (5, "sliding_attention"), "gemma4_text": (6, "sliding_attention"),
    "gpt_oss": (2, "sliding_attention"), "exaone4": (4, "sliding_attention"), "olmo3": (4, "sliding_attention"),
    "qwen3_next": (4, "linear_attention"), "qwen3_5_text": (4, "linear_attention"),
    "qwen3_5_moe_text": (4, "linear_attention"), "minimax": (2, "linear_attention"), "afmoe": (4, "sliding_attention"),
    "minimax_text_01": (8, "linear_attention"), "minimax_m1": (8, "linear_attention"),
}  # fmt: skip
"""Every n-th layer has full attention, the others this kind, where the file gives no list."""
_SYNONYMS = {
    "attention": "full_attention", "attn": "full_attention", "global": "full_attention", "global_attention":
    "full_attention", "full": "full_attention", "local": "sliding_attention", "local_attention": "sliding_attention",
    "sliding_window": "sliding_attention", "swa": "sliding_attention", "sliding": "sliding_attention",
    "linear": "linear_attention", "recurrent": "linear_attention", "kda": "linear_attention", "mamba2": "mamba",
    "mamba1": "mamba", "short_conv": "conv", "m": "mamba", "a": "full_attention", "moe": "moe", "mlp": "mlp",
    "deepseek_sparse_attention": "full_attention",
}  # fmt: skip


_MAMBA = frozenset({"bamba", "jamba", "granitemoehybrid", "nemotron_h", "zamba", "zamba2", "plamo2"})


def kinds(text: Settings, count: int) -> tuple[str, ...] | None:
    """The kind of each of `count` layers; None where nothing tells them apart."""
    if text.model_type == "falcon_h1":
        return ("hybrid",) * count
    for reader in _READERS:
        if (found := reader(text, count)) is not None and len(found) >= count:
            words = tuple(_SYNONYMS.get(word, word) for word in found[:count])
            if text.model_type in _MAMBA:  # newer files call these layers linear attention
                words = tuple("mamba" if word == "linear_attention" else word for word in words)
            return words
    return None


def layer_count(text: Settings) -> int | None:
    """As written, or as long as the pattern is."""
    if (pattern := text.text("hybrid_override_pattern")) is not None:
        return len(pattern.replace("|", ""))
    if (written := text.whole("num_hidden_layers")) is not None and (
        text.writes("num_hidden_layers") or not text.listing("layer_types")
    ):
        return written
    listed = text.listing("layer_types")
    return len(listed) if listed is not None else None


def _listed(text: Settings, count: int) -> list[str] | None:
    value = text.get("layer_types")
    if isinstance(value, list):
        return [str(word).lower() for word in value]
    if isinstance(value, Mapping):  # an abridged file: how many of each, and how the list begins
        return _unfold(value, count)
    return None


def _unfold(value: Mapping[str, object], count: int) -> list[str] | None:
    """The shortest period that begins as `first8` does and has as many of each kind as `counts` says."""
    head = next((row for key, row in value.items() if key.startswith("first") and isinstance(row, list)), None)
    counts = value.get("counts")
    if not head or not isinstance(counts, Mapping):
        return None
    words = [str(word) for word in head]
    for period in range(1, len(words) + 1):
        full = [words[at % period] for at in range(count)]
        if full[: len(words)] == words and all(full.count(str(word)) == times for word, times in counts.items()):
            return full
    return None


def _letters(text: Settings, _count: int) -> list[str] | None:
    pattern = text.text("hybrid_override_pattern")
    return [_LETTERS.get(letter, letter) for letter in pattern.replace("|", "")] if pattern else None


def _numbers(text: Settings, _count: int) -> list[str] | None:
    """Lists of 0 and 1: MiniMax's `attn_type_list` (1 = full), MiMo's `hybrid_layer_pattern` (1 = sliding)."""
    for key, words in (
        ("attn_type_list", ("linear_attention", "full_attention")),
        ("hybrid_layer_pattern", ("full_attention", "sliding_attention")),
    ):
        if (row := text.listing(key)) and all(one in (0, 1) for one in row):
            return [words[1 if one else 0] for one in row]
    return None


def _indices(text: Settings, count: int) -> list[str] | None:
    """Lists of the layers that have attention: Bamba's, LFM2's, Kimi Linear's (which counts from 1)."""
    if text.model_type == "bamba" and text.get("attn_layer_indices") is None:
        return ["mamba"] * count
    for key, other in (("attn_layer_indices", "mamba"), ("full_attn_idxs", "conv")):
        if (row := text.listing(key)) is not None:
            return ["full_attention" if at in row else other for at in range(count)]
    linear = text.section("linear_attn_config").get("kda_layers")
    if isinstance(linear, list):
        return ["linear_attention" if at + 1 in linear else "full_attention" for at in range(count)]
    return None


def _periods(text: Settings, count: int) -> list[str] | None:
    period, offset = text.whole("attn_layer_period"), text.whole("attn_layer_offset")  # Jamba
    if period and offset is not None:
        return ["full_attention" if at % period == offset else "mamba" for at in range(count)]
    if text.writes("full_attention_interval") and (every := text.whole("full_attention_interval")):
        return _every(every, "linear_attention", count)
    pattern = text.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:  # "LLLG": local, global
        return ["sliding_attention" if pattern[at % len(pattern)] == "L" else "full_attention" for at in range(count)]
    if isinstance(pattern, list) and pattern:
        return [str(pattern[at % len(pattern)]) for at in range(count)]
    for key in ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers"):
        if text.writes(key) and (every := text.whole(key)):
            return _every(every, "sliding_attention", count)
    if text.model_type in _EVERY and (
        text.get("sliding_window") is not None or _EVERY[text.model_type][1] != "sliding_attention"
    ):
        return _every(*_EVERY[text.model_type], count)
    return None


def _every(every: int, other: str, count: int) -> list[str]:
    return ["full_attention" if (at + 1) % every == 0 else other for at in range(count)]


def _llama4(text: Settings, count: int) -> list[str] | None:
    """Layers with rotary positions look back one chunk, the others see all (`no_rope_layers`: 0 = sees all)."""
    if text.model_type != "llama4_text" or text.get("attention_chunk_size") is None:
        return None
    rows = text.listing("no_rope_layers") or []
    every = text.whole("no_rope_layer_interval") or 4
    turns = [bool(one) for one in rows] if len(rows) >= count else [(at + 1) % every != 0 for at in range(count)]
    return ["chunked_attention" if turn else "full_attention" for turn in turns]


_READERS: tuple[Callable[[Settings, int], list[str] | None], ...] = (
    _letters, _llama4, _listed, _numbers, _indices, _periods,
)  # fmt: skip
