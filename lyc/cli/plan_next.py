"""The command to type after a plan. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lyc.cli.plan_model import Planned
from lyc.records.fit import Fit
from lyc.records.wish import Wish


@dataclass(frozen=True, slots=True)
class Typed:
    """What the user typed. engine: vLLM's options by their long names."""

    model: str | None
    file: Path | None
    engine: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        """The model again."""
        file = ["-f", str(self.file)] if self.file is not None else []
        return [*file, *([self.model] if self.model is not None else [])]


def deploy_command(typed: Typed, fit: Fit, planned: Planned, wish: Wish) -> str:
    """`lyc deploy` for the fit.

    Where the wish, and not the model alone, is why there are so many cards, the split is said too.
    """
    words = ["lyc", "deploy", *typed.words, "--gpu", fit.card.name]
    words += ["--quantization", fit.quantization] if fit.quantization else []
    if fit.serving.max_model_len != planned.longest:
        words += ["--max-model-len", str(fit.serving.max_model_len)]
    split = {"tensor-parallel-size": fit.serving.tp, "pipeline-parallel-size": fit.serving.pp}
    wide = wish.concurrency is not None or wish.count is not None
    told = {name: str(size) for name, size in split.items() if wide and size > 1}
    for name, value in {**told, **typed.engine}.items():
        if name not in {"quantization", "max-model-len"}:
            words += ["--engine-arg", f"{name}={value}"]
    return shlex.join(words)


def plan_command(typed: Typed, fit: Fit, wish: Wish) -> str:
    """`lyc plan` that asks for this fit, with those of the other wishes that it meets."""
    name = f"{fit.card.name}:{fit.count}" if fit.count > 1 else fit.card.name
    words = ["lyc", "plan", *typed.words, "--gpu", name]
    words += ["--quantization", fit.quantization] if fit.quantization else []
    if wish.max_model_len is not None:
        words += ["--max-model-len", str(fit.serving.max_model_len)]
    if wish.concurrency is not None and held_at_once(fit, wish) >= wish.concurrency:
        words += ["--concurrency", str(wish.concurrency)]
        words += ["--context", str(wish.context)] if wish.context is not None else []
    for option, value in typed.engine.items():
        if option not in {"quantization", "max-model-len", "tensor-parallel-size", "pipeline-parallel-size"}:
            flag = "--util" if option == "gpu-memory-utilization" else f"--{option}"
            words += [flag] if option == "enforce-eager" else [flag, value]
    return shlex.join(words)


def held_at_once(fit: Fit, wish: Wish) -> int:
    """Requests of the wished context for which the fit has room, about."""
    context = min(wish.context or fit.serving.max_model_len, fit.serving.max_model_len)
    return 0 if fit.cache is None else min(fit.cache.tokens // context, fit.serving.max_num_seqs)
