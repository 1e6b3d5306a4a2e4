"""Writes lyc/inspection/data/defaults.json anew: defaults of Hugging Face's configuration classes. Never a test.

    uv run --with transformers==5.19.0 --with torch python tests/inspection/regenerate_defaults.py

Only classes that an engine serves are kept (those of the file as it is, and of the newest list of architectures), and
only numbers, flags and words that may bear on sizes.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2] / "lyc"
DATA = ROOT / "inspection/data/defaults.json"
IDLE = re.compile(
    r"(dropout|_drop$|pdrop|token_id|token_index|_eps$|epsilon|^init|initializer|router_(aux|jitter|scaling)|"
    r"output_router|use_cache|return_dict|output_hidden|chunk_size_feed|is_encoder|_act$|activation|routed_scaling|"
    r"norm_topk|pretraining_tp|mask_|time_step|softcapping|logit_cap|multiplier|summary|classifier|_loss|drop_path|"
    r"layerdrop|is_decoder|add_cross|residual|rescale|^scale_|_scale$|scaling_alpha|alpha_factor|beta_factor|"
    r"logits_scaling|use_mamba|use_assoc|topk_group|num_logits|feature_select|rope_theta|codec|tts_|im_|max_symbols|"
    r"resblock|upsampl|seed|_hz|scoring|topk_method|n_group$|^eo|^bo|architecture$|temperature|floor_scale|attn_scale|"
    r"extrapolation|tokens_per_second|per_seconds|per_chunk|coef|swiglu|_impl|deterministic|gradient|logit_scale)"
)
"""Names of what has no bearing on sizes."""


def main() -> None:
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    configurations = importlib.import_module("transformers").CONFIG_MAPPING
    old = json.loads(DATA.read_text(encoding="utf-8"))
    newest = max(ROOT.glob("engines/data/architectures-*.json"))
    wanted = set(old["architectures"]) | set(re.findall(r'"(\w+)"', newest.read_text(encoding="utf-8")))
    classes = _classes(auto)
    architectures = {name: classes.get(name) or old["architectures"].get(name) for name in sorted(wanted)}
    architectures = {name: kind for name, kind in architectures.items() if kind}
    types: dict[str, Any] = {}
    todo = list(architectures.values())
    while todo:
        kind = todo.pop()
        if kind in types:
            continue
        try:
            row, parts = _row(configurations[kind])
        except (KeyError, TypeError):
            row, parts = old["types"].get(kind, {}), []
        types[kind] = row
        todo += parts
    lines = [f" {json.dumps(name)}: {json.dumps(kind)}" for name, kind in architectures.items()]
    rows = [f" {json.dumps(kind)}: {json.dumps(types[kind], sort_keys=True)}" for kind in sorted(types)]
    head = f'{{"source": "transformers {importlib.import_module("transformers").__version__}, class defaults",'
    text = [head, '"architectures": {', ",\n".join(lines) + "},", '"types": {', ",\n".join(rows) + "}}"]
    DATA.write_text("\n".join(text) + "\n", encoding="utf-8")


def _classes(auto: Any) -> dict[str, str]:
    """Class of a model → its model type."""
    found: dict[str, str] = {}
    for name in dir(auto):
        table = getattr(auto, name)
        if name.endswith("_MAPPING_NAMES") and hasattr(table, "items"):
            for kind, value in table.items():
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    found.setdefault(str(one), str(kind))
    return found


def _row(configuration: Any) -> tuple[dict[str, Any], list[str]]:
    defaults = {one.name: one.default for one in dataclasses.fields(configuration) if _plain(one.name, one.default)}
    named = {key: getattr(part, "model_type", "") for key, part in (configuration.sub_configs or {}).items()}
    parts = {key: kind for key, kind in named.items() if kind}
    row: dict[str, Any] = {"defaults": defaults} if defaults else {}
    return ({**row, "parts": parts} if parts else row), list(parts.values())


def _plain(name: str, value: object) -> bool:
    if IDLE.search(name) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return False
    return isinstance(value, (bool, int, float, str, list))


if __name__ == "__main__":
    main()
