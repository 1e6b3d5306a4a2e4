"""What the pages say is so: links lead somewhere, commands and flags exist, Python compiles."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lyc.cli.app import build

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)")
LYC: Any = get_command(build())
SETTINGS_OF_LYC = {option for parameter in LYC.params for option in parameter.opts}


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def command_lines() -> list[str]:
    """Every `lyc …` of a shell block; on one line several may stand apart by wide space."""
    lines = [
        part.split(" #")[0].strip()
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        for part in re.split(r"\s{3,}", line)
    ]
    return sorted({line.removeprefix(".venv/bin/") for line in lines if re.match(r"(\.venv/bin/)?lyc ", line)})


def heading_marks(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for path, mark in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (mark and mark not in heading_marks(target)):
            broken.append(f"{path}#{mark}")
    assert broken == []


def test_there_are_commands_to_look_at() -> None:
    assert len(command_lines()) > 10


@pytest.mark.parametrize("line", command_lines())
def test_a_command_is_one_that_lyc_knows(line: str) -> None:
    command = LYC
    words = shlex.split(re.split(r" [>|] ", line)[0])[1:]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"lyc has no verb {words[0]}"
        command = command.commands[words.pop(0)]
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    flags = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used - flags - SETTINGS_OF_LYC - {"--help"} == set()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


@pytest.mark.parametrize("command", ["examples/quickstart.py", "tests/run.py"])
def test_the_two_commands_of_the_readme_are_there(command: str) -> None:
    assert f"```sh\npython3 {command}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / command).exists()
