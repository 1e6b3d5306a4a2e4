"""docs/providers.md: its tables are what providers say, its example passes the suite; and looking at all is cheap."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.providers.table import PAGE, filled, kinds

HEAVY = ("boto3", "botocore", "httpx")


def test_the_tables_are_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == filled(written), "they are old: python -m tests.providers.table"


def test_each_provider_is_known_by_the_name_that_it_has() -> None:
    assert {name: kind.capabilities.name for name, kind in kinds().items()} == {name: name for name in kinds()}


def test_what_is_peculiar_is_said_of_each() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert [
        kind.capabilities.title for kind in kinds().values() if f"\n| {kind.capabilities.title} |" not in written
    ] == []


def test_no_two_read_one_variable() -> None:
    named = [row.env for kind in kinds().values() for row in kind.capabilities.credentials]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("value", [entry.value for entry in entry_points(group="lyc.providers")])
def test_to_look_at_a_provider_loads_nothing_heavy(value: str) -> None:
    code = "import sys; from importlib.metadata import EntryPoint; EntryPoint('x', sys.argv[1], 'lyc.providers').load()"
    code += f"; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, value], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_passes_the_suite(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for name, block in zip(("acme.py", "test_acme.py"), blocks, strict=True):
        (tmp_path / name).write_text(block)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_acme.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 40  # type: ignore[index]
