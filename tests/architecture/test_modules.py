"""What the design says of every module, held by reading the source: size, names, docstrings, frozen records."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "lyc").rglob("*.py"))
LONGEST, MEDIAN = 400, 120
NOT_A_NAME = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "services", "service", "misc"}
# Spelled as classes of one character so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"/wor[k]/|/roo[t]/|/tm[p]/[b]/")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_in(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 10


def test_no_module_is_longer_than_one_can_hold_in_mind() -> None:
    assert [f"{name_of(path)}: {lines_in(path)}" for path in MODULES if lines_in(path) > LONGEST] == []


def test_most_modules_are_short() -> None:
    assert statistics.median(lines_in(path) for path in MODULES) <= MEDIAN


def test_names_are_stages_or_things() -> None:
    assert [name_of(path) for path in MODULES if {*path.with_suffix("").parts} & NOT_A_NAME] == []


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def bases(node: ast.ClassDef) -> set[str]:
    """Names of what a class derives from, without their module."""
    return {ast.unparse(base).rpartition(".")[2] for base in node.bases}


def contracts() -> set[str]:
    """Names of methods whose contract stands in a Protocol, for all who implement it."""
    classes = [node for path in MODULES for node in parsed(path).body if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if "Protocol" in bases(node)]
    return {part.name for node in protocols for part in node.body if isinstance(part, ast.FunctionDef)}


CONTRACTS = contracts()
SPEAKS_FOR_ITSELF = {"TypedDict", "StrEnum", "Enum"}
"""A class that is only a list of names."""


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Modules, and public classes, functions (of more than one statement) and methods (more than three) without one."""
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        short = bases(node) & SPEAKS_FOR_ITSELF if isinstance(node, ast.ClassDef) else len(node.body) == 1
        if not (short or ast.get_docstring(node)):
            yield f"line {node.lineno}: {node.name}"
        methods = node.body if isinstance(node, ast.ClassDef) else []
        for part in (part for part in methods if isinstance(part, ast.FunctionDef) and len(part.body) > 3):
            if not (part.name.startswith("_") or part.name in CONTRACTS or ast.get_docstring(part)):
                yield f"line {part.lineno}: {node.name}.{part.name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_says_its_contract(path: Path) -> None:
    assert list(undocumented(parsed(path))) == []


def is_frozen_record(node: ast.ClassDef) -> bool:
    """Whether a class is no dataclass at all, or a frozen one with slots."""
    for mark in node.decorator_list:
        if isinstance(mark, ast.Name) and mark.id == "dataclass":
            return False
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "dataclass":
            options = {word.arg: word.value for word in mark.keywords}
            return all(isinstance(on := options.get(key), ast.Constant) and on.value for key in ("frozen", "slots"))
    return True


def test_records_are_frozen() -> None:
    classes = [
        (path, node)
        for path in MODULES
        if path.parent.name == "records"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 10
    assert [f"{name_of(path)}: {node.name}" for path, node in classes if not is_frozen_record(node)] == []


def test_no_path_of_somebodys_machine() -> None:
    kept = (".py", ".md", ".toml", ".json", ".lua", ".yaml", ".sh", "")
    places = [ROOT / name for name in ("lyc", "tests", "docs", "examples", ".ci")]
    files = [path for place in places for path in place.rglob("*") if path.is_file() and path.suffix in kept]
    files += [path for path in ROOT.glob("*") if path.is_file() and path.suffix in (".md", ".toml", ".lock")]
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []
