"""A deploy on a host's own GPUs: how many cards, what the engine and a person are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lyc.errors import NoFit, SpecError
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.host.decide import plan
from lyc.records.deployment import DeploymentSpec
from lyc.records.plan import Accelerator, EngineBuild, HostFacts
from lyc.units import GIB, MIB
from tests.planning.test_fit import LLAMA_8B, PHI_4, QWEN_72B, facts

BUILD = EngineBuild("vllm", "0.32.0")
SPEC = DeploymentSpec("support", "/models/m", gpu="h100")
H100 = Accelerator("h100", "NVIDIA H100 80GB HBM3", 81559 * MIB, 81000 * MIB, 90, "GPU-0")


def host(*cards: Accelerator) -> HostFacts:
    return HostFacts("box", "Linux", "x86_64", 64, 512 * GIB, 500 * GIB, 1 << 42, accelerators=cards, driver="580.1")


def eight() -> HostFacts:
    return host(*(replace(H100, uuid=f"GPU-{n}") for n in range(8)))


def test_one_card_where_one_is_enough() -> None:
    made = plan(SPEC, facts(LLAMA_8B), eight(), draft=None, build=BUILD)
    assert (made.accelerator_count, made.tensor_parallel) == (1, 1)
    assert made.forecast is not None
    assert made.forecast.kv_blocks > 1000
    assert made.memory_bytes == pytest.approx(0.92 * CARDS["h100"].cuda_total, rel=0.001)
    assert made.max_model_len == 131072


def test_as_many_as_it_takes() -> None:
    made = plan(replace(SPEC, max_model_len=32768), facts(QWEN_72B), eight(), draft=None, build=BUILD)
    assert (made.accelerator_count, made.tensor_parallel) == (4, 4)


def test_pipeline_stages_are_told_to_the_engine() -> None:
    args = {"pipeline-parallel-size": "2"}
    made = plan(replace(SPEC, engine_args=args), facts(LLAMA_8B), eight(), draft=None, build=BUILD)
    assert (made.accelerator_count, made.tensor_parallel, made.engine_args) == (2, 1, args)


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(NoFit) as caught:
        plan(SPEC, facts(QWEN_72B), host(H100), draft=None, build=BUILD)
    assert caught.value.exit_code == 5
    assert "no-room" in caught.value.ref
    assert "GiB" in caught.value.why
    assert "--gpu" in caught.value.hint
    assert any("GiB" in line for line in caught.value.detail)


def test_a_split_that_cannot_be_is_refused() -> None:
    with pytest.raises(NoFit) as caught:
        plan(replace(SPEC, engine_args={"tensor_parallel_size": "4"}), facts(PHI_4), eight(), draft=None, build=BUILD)
    assert caught.value.ref == "impossible-split"


def test_memory_that_others_hold_is_found_before_the_engine_does() -> None:
    busy = host(replace(H100, memory_free=20 * GIB))
    with pytest.raises(NoFit) as caught:
        plan(SPEC, facts(LLAMA_8B), busy, draft=None, build=BUILD)
    assert caught.value.ref == "gpu-busy"
    assert plan(SPEC, facts(LLAMA_8B), busy, draft=None, build=BUILD, freed=60 * GIB).accelerator_count == 1


def test_a_slice_of_a_card_is_planned_by_its_own_size() -> None:
    mig = replace(H100, memory_total=40448 * MIB, memory_free=40000 * MIB)
    made, whole = (plan(SPEC, facts(LLAMA_8B), host(card), draft=None, build=BUILD) for card in (mig, H100))
    assert made.forecast is not None
    assert whole.forecast is not None
    assert made.forecast.kv_cache < 0.5 * whole.forecast.kv_cache


def test_a_card_that_the_catalogue_does_not_have() -> None:
    card = replace(H100, name="rtx-9090", product="NVIDIA GeForce RTX 9090")
    made = plan(replace(SPEC, gpu="rtx-9090"), facts(LLAMA_8B), host(card), draft=None, build=BUILD)
    assert made.forecast is not None


@pytest.mark.parametrize("args", [{"gpu-memory-utilization": "1.5"}, {"max-num-seqs": "0"}, {"block-size": "x"}])
def test_options_that_cannot_be_are_named(args: dict[str, str]) -> None:
    with pytest.raises(SpecError) as caught:
        plan(replace(SPEC, engine_args=args), facts(LLAMA_8B), host(H100), draft=None, build=BUILD)
    assert next(iter(args)) in caught.value.where


def test_a_model_that_nobody_knows_is_planned_with_a_warning() -> None:
    made = plan(SPEC, replace(facts(LLAMA_8B), architecture=None), host(H100), draft=None, build=BUILD)
    assert made.forecast is None
    assert any("cannot foretell" in text for text in made.warnings)


def test_experts_that_cannot_be_split_stay_whole() -> None:
    model = facts("Qwen--Qwen3-30B-A3B-FP8")  # 768 wide in blocks of 128: not in four
    made = plan(replace(SPEC, engine_args={"tensor-parallel-size": "4"}), model, eight(), draft=None, build=BUILD)
    assert made.engine_args["enable-expert-parallel"] == "true"
    two = plan(replace(SPEC, engine_args={"tensor-parallel-size": "2"}), model, eight(), draft=None, build=BUILD)
    assert "enable-expert-parallel" not in two.engine_args
