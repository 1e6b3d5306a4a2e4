"""The encoders beside the language model: of images, of sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lyc.inspection.sections import Sections
from lyc.inspection.settings import Settings, class_parts
from lyc.records.architecture import Tower

_PARTS: Mapping[str, str] = {
    "vision_config": "vision", "visual": "vision", "vision_tower_config": "vision", "img_processor": "vision",
    "vit_config": "vision", "vision": "vision", "vision_encoder": "vision", "audio_config": "audio",
    "audio_encoder_config": "audio", "audio_processor": "audio", "sound_config": "audio", "speech_config": "audio",
}  # fmt: skip
_TYPES: Mapping[tuple[str, str], str] = {
    ("mistral3", "vision_config"): "pixtral", ("pixtral", "vision_config"): "pixtral",
    ("llava", "vision_config"): "clip_vision_model", ("llava_next", "vision_config"): "clip_vision_model",
    ("paligemma", "vision_config"): "siglip_vision_model", ("qwen2_audio", "audio_config"): "qwen2_audio_encoder",
    ("ultravox", "audio_config"): "whisper", ("voxtral", "audio_config"): "voxtral_encoder",
    ("kimi_vl", "vision_config"): "moonvit", ("internvl_chat", "vision_config"): "intern_vit_6b",
}  # fmt: skip
"""The part's type where neither the file nor the class of the whole names it."""


def sections_of_towers(found: Sections) -> Iterator[tuple[str, str, Settings]]:
    """(name of the section, kind, its settings). Parts that the file leaves out come with their class defaults."""
    whole = found.outer
    if found.path and found.path[0] == "thinker_config":  # Omni: the parts are one level deeper
        whole = whole.below(whole.section("thinker_config"), f"{whole.model_type}_thinker")
    parts = class_parts(whole.model_type)
    for key, kind in _PARTS.items():
        written, default = whole.section(key), parts.get(key)
        if not written and not isinstance(default, str):
            continue
        if not written and whole.written.get(key, "") is None:  # null: this one goes without
            continue
        named = written.get("model_type")
        own = isinstance(named, str) and named not in ("", whole.model_type)  # some bear the name of the whole
        part_type = named if own else default
        part_type = part_type if isinstance(part_type, str) else _TYPES.get((whole.model_type, key), "")
        yield key, kind, whole.below(written, part_type)
        if not written:
            whole.missing[key] = None


def towers(found: Sections) -> tuple[Tower, ...]:
    """What each encoder is, with its largest item."""
    done = []
    for _, kind, part in sections_of_towers(found):
        tower = sizes(kind, part)
        tokens, patches = largest_item(found.outer, kind, part)
        done.append(replace(tower, max_tokens=tokens, max_patches=patches))
    return tuple(done)


def sizes(kind: str, part: Settings) -> Tower:
    """What one encoder is; sizes that nothing tells are 0."""
    hidden = _first(part, "hidden_size", "width", "hidden_dim", "vt_hidden_size")
    layers = _first(part, "num_hidden_layers", "depth", "encoder_layers", "layers", "vt_num_hidden_layers")
    heads = _first(part, "num_attention_heads", "encoder_attention_heads", "attention_heads", "vt_num_attention_heads")
    inner = _first(part, "intermediate_size", "encoder_ffn_dim", "vt_intermediate_size")
    if not inner and (ratio := part.number("mlp_ratio")):
        inner = int(hidden * ratio)
    return Tower(kind, hidden, layers, heads, inner)


def largest_item(whole: Settings, kind: str, part: Settings) -> tuple[int, int]:
    """(tokens, inputs of the encoder) of the largest picture or sound; 0 where config.json does not tell.

    As the processing classes of vllm/model_executor/models/{llava,llava_next,mistral3,gemma3_mm}.py, 0.19.0, count.
    """
    if kind == "audio":
        return 0, part.whole("max_source_positions") or 0
    size, patch = part.whole("image_size") or 0, part.whole("patch_size") or 0
    side = size // patch if patch else 0
    match whole.model_type:
        case "llava_next":
            return _tiled(whole, size, side)
        case "llava" | "paligemma":
            return side**2, side**2
        case "gemma3":
            return whole.whole("mm_tokens_per_image") or 0, side**2
        case "mistral3" if merge := whole.whole("spatial_merge_size"):
            rows = side // merge
            return rows * rows + rows, side**2  # a break after each row
        case _:
            return 0, side**2


def _tiled(whole: Settings, size: int, side: int) -> tuple[int, int]:
    """LLaVA-NeXT: the picture once whole, once in the tiles of the finest grid, with a break after each row."""
    best = (0, 0)
    for grid in whole.listing("image_grid_pinpoints") or []:
        match grid:
            case [int(height), int(width)] if size:
                rows, columns = height // size, width // size
                tokens = side**2 + rows * columns * side**2 + rows * side
                best = max(best, (tokens, (1 + rows * columns) * side**2))
    return best


def _first(part: Settings, *names: str) -> int:
    return next((value for name in names if (value := part.whole(name))), 0)
