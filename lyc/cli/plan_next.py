"""The command to type after a plan. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from lyc.cli.plan_model import Planned
from lyc.records.fit import Fit
from lyc.records.wish import Wish

_FLAGS = frozenset({"quantization", "max-model-len"})
"""Options that are flags of `lyc deploy`."""


def deploy_command(
    written: str | None, file: Path | None, fit: Fit, engine: Mapping[str, str], planned: Planned
) -> str:
    """`lyc deploy` for the fit. engine: vLLM's options that were typed, by their long names."""
    words = ["lyc", "deploy", *_model(written, file), "--gpu", fit.card.name]
    words += ["--quantization", fit.quantization] if fit.quantization else []
    if fit.serving.max_model_len != planned.longest:
        words += ["--max-model-len", str(fit.serving.max_model_len)]
    for name, value in engine.items():
        if name not in _FLAGS:
            words += ["--engine-arg", f"{name}={value}"]
    return shlex.join(words)


def plan_command(written: str | None, file: Path | None, fit: Fit, wish: Wish) -> str:
    """`lyc plan` that asks for this fit."""
    name = f"{fit.card.name}:{fit.count}" if fit.count > 1 else fit.card.name
    words = ["lyc", "plan", *_model(written, file), "--gpu", name]
    words += ["--quantization", fit.quantization] if fit.quantization else []
    if wish.max_model_len is not None:
        words += ["--max-model-len", str(fit.serving.max_model_len)]
    return shlex.join(words)


def _model(written: str | None, file: Path | None) -> list[str]:
    return [*(["-f", str(file)] if file is not None else []), *([written] if written is not None else [])]
