"""`lyc completion SHELL`: the script that lets a shell complete verbs, options and names of deployments."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated

import typer

from lyc.cli.session import open_session
from lyc.errors import Failed

EXAMPLES = """
lyc completion bash --install
lyc completion zsh > "${fpath[1]}/_lyc"
lyc completion fish > ~/.config/fish/completions/lyc.fish
"""
VARIABLE = "_LYC_COMPLETE"
"""Set by the scripts when they ask for completions; its name is Typer's."""


class Shell(enum.StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
    install: Annotated[bool, typer.Option("--install", help="Write it where the shell looks for it.")] = False,
) -> None:
    """Print the completion script of a shell, or install it."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # as Typer itself imports it

    output = open_session(context).output
    script = get_completion_script(prog_name="lyc", complete_var=VARIABLE, shell=shell.value)
    if not install:
        output.raw(script + "\n")
        return
    path = _place(shell)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script + "\n", encoding="utf-8")
    except OSError as problem:
        raise Failed(
            "not-installed", "the script cannot be written", why=problem.strerror or "", where=str(path)
        ) from problem
    output.done(f"{shell} completion is in {path}")
    if shell is Shell.ZSH:
        output.hint("~/.zshrc needs, before compinit: fpath+=~/.zfunc")
    output.hint("open a new shell")


def _place(shell: Shell) -> Path:
    """Where each shell looks by itself (zsh has no such folder of the user; ~/.zfunc is the usual one)."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        Shell.BASH: data / "bash-completion/completions/lyc",
        Shell.ZSH: home / ".zfunc/_lyc",
        Shell.FISH: config / "fish/completions/lyc.fish",
    }[shell]
