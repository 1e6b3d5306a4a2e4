"""Every package imports by itself in a fresh interpreter, and a verb's help loads nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "lyc").glob("*/__init__.py"))
HEAVY = {
    "boto3", "botocore", "fastapi", "httpx", "huggingface_hub", "psutil", "sqlalchemy", "starlette", "uvicorn",
}  # fmt: skip


def imported_by(*arguments: str) -> set[str]:
    """Top-level packages that `lyc ARGUMENTS` imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from lyc.cli.main import main; main()", *arguments],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s*([\w.]+)$", done.stderr, re.MULTILINE)
    assert "lyc.cli" in names
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_by_itself(package: Path) -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if path.name != "__main__.py"
    )
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *modules], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["deploy", "--help"]], ids=" ".join)
def test_help_is_quick_because_it_loads_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(*arguments) & HEAVY == set()
