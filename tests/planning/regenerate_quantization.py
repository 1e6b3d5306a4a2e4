"""Writes lyc/planning/catalogue/data/quantization.json from the sources of vLLM's releases. Never runs as a test.

    python tests/planning/regenerate_quantization.py FOLDER        FOLDER/<version>/vllm is a release's package

For every method: since which release it exists, and from which CUDA compute capability (`get_min_capability`); null =
the release has it no more. The same for ROCm, where a method is in `RocmPlatform.supported_quantization` or not.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

LAYERS = "vllm/model_executor/layers/quantization"
ELSEWHERE = frozenset({"ipex", "cpu_awq", "cpu_gptq", "neuron_quant", "tpu_int8"})
"""Methods of processors that the catalogue does not have."""


def main(folder: Path) -> None:
    versions = sorted((path.name for path in folder.iterdir() if (path / LAYERS).is_dir()), key=_numbers)
    cuda = {version: methods(folder / version) for version in versions}
    rocm = {version: on_rocm(folder / version) for version in versions}
    names = sorted({name for found in cuda.values() for name in found} - ELSEWHERE)
    document: dict[str, dict[str, list[list[object]]]] = {
        "cuda": {name: _runs([(v, cuda[v].get(name)) for v in versions]) for name in names},
        "rocm": {name: _runs([(v, (name in rocm[v] and name in cuda[v]) or None) for v in versions]) for name in names},
    }
    lines = [f'  "{part}": {{\n{_rows(document[part])}\n  }}' for part in ("cuda", "rocm")]
    target = Path(__file__).resolve().parents[2] / "lyc/planning/catalogue/data/quantization.json"
    target.write_text(f'{{\n  "versions": {json.dumps(versions)},\n' + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def methods(release: Path) -> dict[str, int]:
    """Method → least capability. Shorthands without a class of their own are the online method's."""
    classes = dict(_classes(release / LAYERS))
    tree = ast.parse((release / LAYERS / "__init__.py").read_text(encoding="utf-8"))
    mapping, listed = {}, set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if not isinstance(target, ast.Name):
            continue
        if target.id == "method_to_config" and isinstance(node.value, ast.Dict):
            mapping = {ast.literal_eval(k): ast.unparse(v) for k, v in _pairs(node.value) if k}
        if target.id == "QuantizationMethods" and isinstance(node.value, ast.Subscript):
            listed = {word.value for word in ast.walk(node.value) if isinstance(word, ast.Constant)}
    found = {name: _least(classes, cls) for name, cls in mapping.items()}
    if "online" in mapping:
        found |= {str(name): found["online"] for name in listed - set(mapping)}
    # The two whose classes derive from another module's by a name that is not the class's own.
    found |= {name: found[of] for name, of in (("deepseek_v4_fp8", "fp8"), ("inc", "auto-round"))
              if name in found and found[name] < 0 and of in found}  # fmt: skip
    return {name: least for name, least in found.items() if least >= 0}


def on_rocm(release: Path) -> set[str]:
    tree = ast.parse((release / "vllm/platforms/rocm.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "supported_quantization" and node.value:
            return set(ast.literal_eval(node.value))
    return set()


def _classes(folder: Path) -> Iterator[tuple[str, tuple[int | None, list[str]]]]:
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                own = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "get_min_capability"]
                returns = [r.value for f in own for r in ast.walk(f) if isinstance(r, ast.Return) and r.value]
                plain = [value for value in returns if not isinstance(value, ast.Call)]  # a call asks the base class
                least = ast.literal_eval(plain[0]) if plain else None
                yield node.name, (least, [ast.unparse(base).rpartition(".")[2] for base in node.bases])


def _least(classes: dict[str, tuple[int | None, list[str]]], name: str) -> int:
    least, bases = classes.get(name, (None, []))
    if least is not None:
        return least
    return next((found for base in bases if (found := _least(classes, base)) >= 0), -1)


def _pairs(node: ast.Dict) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    return zip(node.keys, node.values, strict=True)


def _rows(part: dict[str, list[list[object]]]) -> str:
    return ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in part.items())


def _runs(row: list[tuple[str, object]]) -> list[list[object]]:
    changes: list[list[object]] = []
    for version, value in row:
        if value != (changes[-1][1] if changes else None):
            changes.append([version, value])
    return changes


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
