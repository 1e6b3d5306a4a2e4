"""The commands that a plan proposes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lyc.cli.plan_next import Typed, deploy_command, held_at_once, plan_command
from lyc.records.fit import Fit
from lyc.records.serving import CacheSize, Serving
from lyc.records.wish import Wish
from tests.cli.test_plan_view import PLANNED, made

MODEL = Typed("acme/support 8b", None, {})
ENGINE = {"gpu-memory-utilization": "0.9", "enforce-eager": "true", "max-model-len": "8k", "quantization": "fp8"}
WISH = Wish((0, 19, 0))


def serving(fit: Fit, **changes: object) -> Fit:
    return replace(fit, serving=replace(fit.serving, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "fit", "wish", "command"),
    [
        (MODEL, made(), WISH, "lyc deploy 'acme/support 8b' --gpu h100"),
        (Typed(None, Path("lyc.toml"), {}), made(), WISH, "lyc deploy -f lyc.toml --gpu h100"),
        (
            Typed("a/b", None, ENGINE), serving(made(quantization="fp8"), max_model_len=8192), WISH,
            "lyc deploy a/b --gpu h100 --quantization fp8 --max-model-len 8192 "
            "--engine-arg gpu-memory-utilization=0.9 --engine-arg enforce-eager=true",
        ),
        (Typed("a/b", None, {}), serving(made(count=4), tp=2, pp=2), WISH, "lyc deploy a/b --gpu h100"),
        (
            Typed("a/b", None, {}), serving(made(count=4), tp=2, pp=2), replace(WISH, concurrency=9),
            "lyc deploy a/b --gpu h100 --engine-arg tensor-parallel-size=2 --engine-arg pipeline-parallel-size=2",
        ),
        (
            Typed("a/b", None, {"tensor-parallel-size": "2"}), serving(made(count=2), tp=2), replace(WISH, count=2),
            "lyc deploy a/b --gpu h100 --engine-arg tensor-parallel-size=2",
        ),
    ],
)  # fmt: skip
def test_deploy(typed: Typed, fit: Fit, wish: Wish, command: str) -> None:
    assert deploy_command(typed, fit, PLANNED, wish) == command


def test_plan() -> None:
    fit = serving(made(count=2, quantization="fp8"), max_model_len=8192, max_num_seqs=64)
    assert plan_command(MODEL, made(), WISH) == "lyc plan 'acme/support 8b' --gpu h100"
    wish = replace(WISH, max_model_len=16384, concurrency=20, context=4096)
    typed = Typed("a/b", None, {"tensor-parallel-size": "1", **ENGINE})
    assert plan_command(typed, fit, wish) == (
        "lyc plan a/b --gpu h100:2 --quantization fp8 --max-model-len 8192 --concurrency 20 --context 4096 "
        "--util 0.9 --enforce-eager"
    )
    assert "--concurrency" not in plan_command(typed, fit, replace(wish, concurrency=500))


def test_how_many_have_room() -> None:
    fit = made(cache=CacheSize(100, 1600, 1.0), serving=Serving((0, 19, 0), max_model_len=800, max_num_seqs=12))
    assert held_at_once(fit, WISH) == 2
    assert held_at_once(fit, replace(WISH, context=400)) == 4
    assert held_at_once(fit, replace(WISH, context=10)) == 12
    assert held_at_once(replace(fit, cache=None), WISH) == 0
