"""Which precision is let through on which device and checkpoint."""

from __future__ import annotations

import pytest

from lyc.engines.quantization import ONLINE, check
from lyc.engines.tables import quantization_methods
from lyc.engines.versions import pinned
from lyc.errors import LycError, NoFit, SpecError
from lyc.records.model import ModelFacts
from lyc.records.plan import Accelerator, HostFacts


def host(*capabilities: int) -> HostFacts:
    cards = tuple(Accelerator(f"c{number}", f"Card {number}", 1, 1, number) for number in capabilities)
    return HostFacts("h", "Linux", "x86_64", 8, 1 << 36, 1 << 36, 1 << 40, accelerators=cards)


def facts(own: str | None = None, **detail: object) -> ModelFacts:
    return ModelFacts(architectures=("LlamaForCausalLM",), quantization=own, quantization_detail=detail)


def outcome(wish: str | None, model: ModelFacts, at: HostFacts) -> LycError | None:
    try:
        check(wish, model, at, pinned(on_cpu=not at.accelerators))
    except LycError as error:
        return error
    return None


@pytest.mark.parametrize("own", [None, "awq", "gptq", "compressed-tensors", "fp8"])
def test_what_works_on_a_cpu(own: str | None) -> None:
    assert outcome(None, facts(own), host()) is None


def test_online_int8_works_on_a_cpu() -> None:
    assert outcome("int8_per_channel_weight_only", facts(), host()) is None


@pytest.mark.parametrize("wish", sorted(ONLINE - {"int8_per_channel_weight_only"}))
def test_other_online_methods_do_not_on_a_cpu(wish: str) -> None:
    error = outcome(wish, facts(), host())
    assert isinstance(error, NoFit)
    assert error.ref == "quantization-not-on-cpu"


@pytest.mark.parametrize("own", ["mxfp4", "modelopt_fp4", "bitsandbytes", "gguf", "quark", "never-heard-of"])
def test_checkpoints_without_cpu_kernels(own: str) -> None:
    assert isinstance(outcome(None, facts(own), host()), NoFit)


def test_asymmetric_gptq_is_refused_on_a_cpu_only() -> None:
    assert isinstance(outcome(None, facts("gptq", sym=False), host()), NoFit)
    assert outcome(None, facts("gptq", sym=True), host()) is None
    assert outcome(None, facts("gptq", sym=False), host(90)) is None


def test_the_checkpoint_wins_over_another_wish() -> None:
    error = outcome("fp8", facts("awq"), host(90))
    assert isinstance(error, SpecError)
    assert (error.ref, "awq" in error.what) == ("quantization-mismatch", True)


@pytest.mark.parametrize(("wish", "own"), [("awq_marlin", "awq"), ("gptq_marlin", "gptq"), ("auto_gptq", "gptq")])
def test_names_of_one_format_agree(wish: str, own: str) -> None:
    assert outcome(wish, facts(own), host(90)) is None


def test_a_checkpoint_method_needs_its_checkpoint() -> None:
    error = outcome("awq", facts(), host(90))
    assert isinstance(error, SpecError)
    assert error.ref == "quantization-needs-checkpoint"
    assert "fp8" in error.hint


@pytest.mark.parametrize(
    ("wish", "part"),
    [("int8", "int8_per_channel_weight_only"), ("fp9", "fp8"), ("gguf", "GGUF"), ("bitsandbytes", "plug-in")],
)
def test_a_name_that_is_none(wish: str, part: str) -> None:
    error = outcome(wish, facts(), host(90))
    assert isinstance(error, SpecError)
    assert (error.ref, part in error.hint + error.why) == ("unknown-quantization", True)


@pytest.mark.parametrize("method", sorted(quantization_methods()))
def test_least_compute_capability(method: str) -> None:
    needs = quantization_methods()[method].min_capability
    online = method in ONLINE
    model = facts(None if online else method)
    assert outcome(method, model, host(needs)) is None
    error = outcome(method, model, host(90, needs - 1))
    assert isinstance(error, NoFit)
    assert f"{needs / 10:.1f}" in error.why
