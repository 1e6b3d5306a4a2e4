"""A machine that says it has cards: its `nvidia-smi` is a file, and its engines are stand-ins for vLLM on CUDA."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.replicas.stand_in import Home, make_home, write_cuda_engine

NAME, DRIVER, TOTAL_MIB = "NVIDIA L4", "580.95.05", 23034
_SMI = """#!/bin/sh
case "$1" in --query-gpu=*) cat "{cards}" ;; *) exit 1 ;; esac
"""


@dataclass
class CardHome(Home):
    """cards: the file with what nvidia-smi says."""

    cards: Path = Path()

    def free(self, *mib: int) -> None:
        """So much is free of each card."""
        lines = [f"{NAME}, {TOTAL_MIB}, {free}, 8.9, GPU-{index}, {DRIVER}\n" for index, free in enumerate(mib)]
        self.cards.write_text("".join(lines))

    def deploy(self, *words: str, name: str = "chat", model: Path | None = None, code: int = 0) -> Any:
        return self.json("deploy", str(model or self.model), "--name", name, *words, code=code)


def make_card_home(path: Path) -> CardHome:
    """One card, all of it free."""
    base = make_home(path)
    write_cuda_engine(path / "engines", base.behaviour)
    tools = path / "tools"
    tools.mkdir()
    cards = tools / "cards"
    smi = tools / "nvidia-smi"
    smi.write_text(_SMI.format(cards=cards))
    smi.chmod(0o755)
    env = base.env | {"PATH": f"{tools}:{base.env.get('PATH', os.defpath)}"}
    home = CardHome(base.home, env, base.behaviour, base.model, cards)
    home.free(TOTAL_MIB - 400)
    return home
