"""What the encoders of images and sound take while memory is profiled: the largest items, as many as a batch holds."""

from __future__ import annotations

from dataclasses import dataclass

from lyc.planning.activation.moments import Moment, Tensor
from lyc.records.architecture import Architecture, Tower
from lyc.records.serving import Serving

_ITEMS: tuple[tuple[str, int, int], ...] = (
    # 12.8 million pixels (Qwen2 and 2.5) and 16.8 million (Qwen3): 16384 tokens of four patches
    ("Qwen", 16384, 65536),
    ("Gemma3n", 256, 256),
    ("Gemma3", 256, 4096),
    ("Gemma4", 280, 2520),
    ("Mistral3", 3080, 12100),  # 1540 pixels a side, patches of 14, four merged, and a break after each row
    ("Pixtral", 4160, 4096),
    ("Llama4", 2465, 17 * 576),  # 16 tiles and the whole, 576 patches each, four merged
    ("Mllama", 4 * 1601, 4 * 1601),
    ("InternVL", 13 * 256, 13 * 1024),  # 12 tiles and the whole, four patches merged
    ("NVLM", 13 * 256, 13 * 1024),
    ("LlavaForConditional", 576, 576),
    ("PaliGemma", 1024, 1024),
    ("KimiVL", 4096, 16384),
    ("Glm4v", 6144, 24576),
)
"""(class begins with, tokens, encoder inputs) of the largest item, from the processors of `model_executor/models`."""
_TILES = 11
"""Of LLaVA-NeXT: ten of the finest grid and the whole."""
_FALLBACK = (4096, 16384)
_PATCH = 3 * 14 * 14
"""Numbers of one patch, twice of that where two frames make one (Qwen)."""
STREAMS = 5
"""Tensors of inputs × width in an encoder's layer: its input, the sum with attention, the norm of that, the positions,
and one that is on its way. The MLP's widths come beside (eager code of `models/qwen3_vl.py`, `siglip.py`).
"""
_GATED_BELOW = 3
"""MLPs narrower than three times the width have a gate (Qwen2.5: 2.67), and so one tensor more."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """moment: the fullest. kept: pixels and outputs, which live until the run ends. guessed: whether its size is."""

    moment: Moment
    kept: tuple[Tensor, ...]
    guessed: bool


def largest_item(architecture: Architecture, tower: Tower) -> tuple[int, int, bool]:
    """(tokens, encoder inputs) of the largest item, and whether they are a guess."""
    if tower.max_tokens:
        return tower.max_tokens, tower.max_patches or tower.max_tokens, not tower.max_patches
    if tower.kind == "audio":
        inputs = tower.max_patches or 1500
        return inputs, inputs, True
    for name, tokens, patches in _ITEMS:
        if architecture.name.startswith(name):
            return tokens, patches, False
    if tower.max_patches:
        count = _TILES * tower.max_patches if "Next" in architecture.name else tower.max_patches
        return count, count, "Next" not in architecture.name
    return (*_FALLBACK, True)


def encoder(architecture: Architecture, serving: Serving) -> Encoding | None:
    """Of the tower that takes most; None without one.

    `profile_run` (0.19.0): of a budget of max(max_num_batched_tokens, tokens of one item) tokens the largest items are
    encoded in one batch; pixels and outputs stay until the decoder and the sampler have run. Layers of the encoder are
    split over tp.
    """
    found = [_encoding(architecture, tower, serving) for tower in architecture.towers if tower.hidden]
    return max(found, key=lambda one: one.moment.size, default=None)


def _encoding(architecture: Architecture, tower: Tower, serving: Serving) -> Encoding:
    item = 4 if serving.dtype == "float32" else 2
    tokens, patches, guessed = largest_item(architecture, tower)
    count = max(min(max(serving.max_num_batched_tokens, tokens) // tokens, serving.max_num_seqs), 1)
    inputs = count * patches
    inner = tower.intermediate or 4 * tower.hidden
    parts = 3 if inner < _GATED_BELOW * tower.hidden else 2
    width = -(-inner // serving.tp)
    patch = _PATCH * (2 if architecture.name.startswith("Qwen") else 1)
    kept = (
        Tensor(f"pixels {inputs}×{patch}", inputs * patch * item),
        Tensor(f"encoder cache {count}×{tokens}×{architecture.hidden}", count * tokens * architecture.hidden * item),
    )
    moment = Moment(
        f"{tower.kind} encoder",
        (
            Tensor(f"MLP {parts}×{inputs}×{width}", parts * inputs * width * item),
            Tensor(f"streams {STREAMS}×{inputs}×{tower.hidden}", STREAMS * inputs * tower.hidden * item),
            kept[0],
        ),
    )
    return Encoding(moment, kept, guessed)
