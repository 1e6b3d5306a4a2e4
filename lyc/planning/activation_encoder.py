"""What the encoders of images and sound take while memory is profiled: the largest items, as many as a batch holds."""

from __future__ import annotations

from collections.abc import Iterable

from lyc.planning.activation_moments import Moment, Tensor
from lyc.records.architecture import Tower
from lyc.records.serving import Serving

_LARGEST_ITEM = 16384
"""Tokens of the largest image where nothing tells: Qwen's processors take 12.8 million pixels (28 × 28 a token)."""
_PATCHES = 4
"""Encoder inputs of one token where nothing tells: four are merged into one."""


def encoder(towers: Iterable[Tower], hidden: int, serving: Serving) -> tuple[Moment | None, tuple[Tensor, ...], bool]:
    """(the fullest moment of the encoder, what it leaves in the encoder's cache, whether its sizes were guessed).

    `profile_run` (0.19.0): a budget of max(max_num_batched_tokens, tokens of one item); its largest items are encoded
    in one batch, and the outputs stay until the decoder has run. An encoder layer holds the stream, its normed copy,
    attention's output and residual, and both widths of the MLP, in the model's dtype (eager, not split over cards
    where the model replicates it; counted whole).
    """
    found = [tower for tower in towers if tower.hidden]
    if not found:
        return None, (), False
    item = 4 if serving.dtype == "float32" else 2
    most: Moment | None = None
    kept: tuple[Tensor, ...] = ()
    guessed = False
    for tower in found:
        tokens, patches, unsure = _item(tower)
        budget = max(serving.max_num_batched_tokens, tokens)
        count = max(min(budget // tokens, serving.max_num_seqs), 1)
        inputs = count * patches
        inner = tower.intermediate or 4 * tower.hidden
        wide = Tensor(f"{tower.kind} MLP 2×{inputs}×{inner}", 2 * inputs * inner * item)
        thin = Tensor(f"{tower.kind} streams 4×{inputs}×{tower.hidden}", 4 * inputs * tower.hidden * item)
        moment = Moment(f"{tower.kind} encoder", (wide, thin))
        if most is None or moment.size > most.size:
            out = Tensor(f"encoder cache {count}×{tokens}×{hidden}", count * tokens * hidden * item)
            most, kept, guessed = moment, (out,), unsure
    return most, kept, guessed


def _item(tower: Tower) -> tuple[int, int, bool]:
    """(tokens, encoder inputs) of the largest item, and whether they were guessed."""
    if tower.max_tokens:
        return tower.max_tokens, tower.max_patches or _PATCHES * tower.max_tokens, not tower.max_patches
    if tower.max_patches:
        return tower.max_patches, tower.max_patches, True
    if tower.kind == "audio":
        return 1500, 1500, True
    return _LARGEST_ITEM, _PATCHES * _LARGEST_ITEM, True
