"""The words of `lyc plan`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from lyc.cli.plan_wish import Words, gpu_names, token_price, wish_of
from lyc.errors import SpecError, UsageError
from lyc.records.deployment import DeploymentSpec
from lyc.records.wish import Wish

SPEC = DeploymentSpec("plan", "/m")


def wished(spec: DeploymentSpec = SPEC, file: Path | None = None, **words: object) -> tuple[Wish, tuple[str, ...]]:
    return wish_of(Words(**{"engine": {}} | words), spec, file=file, pinned="0.32.0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "names", "count"),
    [
        ([], (), None),
        (["auto"], (), None),
        (["all"], (), None),
        (["H100"], ("h100",), None),
        (["h100:2"], ("h100",), 2),
        (["h100,l40s"], ("h100", "l40s"), None),
        (["h100", "l40s", "h100"], ("h100", "l40s"), None),
        (["h100:4, l40s:4"], ("h100", "l40s"), 4),
        (["cpu"], ("cpu",), None),
        (["auto:8"], (), 8),
    ],
)
def test_gpus(words: list[str], names: tuple[str, ...], count: int | None) -> None:
    assert gpu_names(words) == (names, count)


@pytest.mark.parametrize(
    ("words", "ref"),
    [
        ([""], "invalid-gpu"),
        (["h100,"], "invalid-gpu"),
        (["h100:0"], "invalid-gpu"),
        (["h100:x"], "invalid-gpu"),
        (["h100:-1"], "invalid-gpu"),
        ([":2"], "invalid-gpu"),
        (["h100:99999"], "invalid-gpu"),
        (["h100:2,l40s"], "contradictory-wish"),
        (["h100:2", "l40s:4"], "contradictory-wish"),
        (["cpu,h100"], "contradictory-wish"),
    ],
)
def test_no_gpus(words: list[str], ref: str) -> None:
    with pytest.raises(UsageError) as caught:
        gpu_names(words)
    assert (caught.value.ref, caught.value.where) == (ref, "--gpu")


def test_all_that_can_be_said() -> None:
    wish, names = wished(
        engine={"tensor-parallel-size": "2", "gpu-memory-utilization": ".9"}, gpu=("h100",), count=2, concurrency=32,
        context="8k", vllm_version="0.19.0", per_token_price="0.60", active_hours="40",
    )  # fmt: skip
    assert names == ("h100",)
    assert wish == Wish(
        (0, 19, 0), count=2, tp=2, utilization=Fraction(9, 10), concurrency=32, context=8192,
        per_token_price=Decimal("0.60"), active_hours=Decimal(40),
    )  # fmt: skip


def test_nothing_said_is_the_version_that_lyc_installs() -> None:
    assert wished() == (Wish((0, 32, 0)), ())
    assert wished(gpu=("cpu",)) == (Wish((0, 32, 0), on_cpu=True), ("cpu",))


def test_a_flag_wins_over_the_file() -> None:
    spec = DeploymentSpec(
        "a", "/m", gpu="l40s", quantization="fp8", max_model_len=4096,
        engine_args={"max-num-seqs": "16", "dtype": "float16", "seed": "1"},
    )  # fmt: skip
    wish, names = wished(spec, Path("lyc.toml"))
    assert names == ("l40s",)
    assert wish == Wish((0, 32, 0), quantization="fp8", max_model_len=4096, max_num_seqs=16, dtype="float16")
    wish, names = wished(spec, Path("lyc.toml"), engine={"max-num-seqs": "8", "max-model-len": "2k"}, gpu=("h100",))
    assert (names, wish.max_num_seqs, wish.max_model_len) == (("h100",), 8, 2048)


@pytest.mark.parametrize(
    ("words", "ref", "where"),
    [
        ({"engine": {"gpu-memory-utilization": "2"}}, "invalid-value", "--util"),
        ({"engine": {"tensor-parallel-size": "x"}}, "invalid-value", "--tp"),
        ({"engine": {"block-size": "0"}}, "invalid-value", "--block-size"),
        ({"count": 0}, "invalid-value", "--count"),
        ({"count": -1}, "invalid-value", "--count"),
        ({"concurrency": 0}, "invalid-value", "--concurrency"),
        ({"concurrency": 1 << 40}, "invalid-value", "--concurrency"),
        ({"context": "0"}, "invalid-value", "--context"),
        ({"context": "much"}, "invalid-value", "--context"),
        ({"vllm_version": "newest"}, "invalid-version", "--vllm-version"),
        ({"per_token_price": "cheap"}, "invalid-token-price", "--per-token-price"),
        ({"active_hours": "169"}, "invalid-active-hours", "--active-hours"),
        ({"gpu": ("h100:2",), "count": 4}, "contradictory-wish", "--count"),
        ({"count": 2, "engine": {"tensor-parallel-size": "4"}}, "contradictory-wish", "--count"),
        ({"context": "16k", "engine": {"max-model-len": "8k"}}, "contradictory-wish", "--context"),
    ],
)
def test_a_wrong_flag_is_named(words: dict[str, object], ref: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        wished(**words)
    assert (caught.value.ref, caught.value.where) == (ref, where)


def test_a_wrong_key_of_the_file_is_named() -> None:
    spec = DeploymentSpec("a", "/m", engine_args={"gpu-memory-utilization": "2"})
    with pytest.raises(SpecError) as caught:
        wished(spec, Path("x/lyc.toml"))
    assert caught.value.where == "x/lyc.toml: engine_args.gpu-memory-utilization"
    with pytest.raises(UsageError):
        wished(spec, Path("x/lyc.toml"), engine={"gpu-memory-utilization": "3"})


@pytest.mark.parametrize(
    ("text", "price"),
    [("0.60", (Decimal("0.60"), None)), ("0.60EUR", (Decimal("0.60"), "EUR")), ("1 usd/Mtoken", (Decimal(1), "USD")),
     (None, (None, None))],
)  # fmt: skip
def test_a_price_of_tokens(text: str | None, price: tuple[Decimal | None, str | None]) -> None:
    assert token_price(text) == price


@pytest.mark.parametrize("text", ["NaN", "-1", "Infinity", "", "1,5", "1e9999", "0", "9" * 40])
def test_no_price_of_tokens(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        token_price(text)
    assert (caught.value.ref, caught.value.where) == ("invalid-token-price", "--per-token-price")
