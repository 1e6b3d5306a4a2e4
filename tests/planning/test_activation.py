"""The peak of torch's memory: against logged starts, against the source's arithmetic, and by properties."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from lyc.planning.activation import activation
from lyc.planning.activation.forward import forward
from lyc.planning.activation.moments import Moment, Tensor, peak
from lyc.planning.activation.runner import V0, V1, V2, engine, runner
from lyc.planning.activation.sampler import padded, sampler
from lyc.planning.catalogue.cards import find
from lyc.planning.defaults import serving as decided
from lyc.records.architecture import Architecture, Experts, Latent, Layer, Mixer, Tower
from lyc.records.model import ModelFacts
from lyc.records.serving import Draft, Serving, Stage, Term
from lyc.records.wish import Wish
from lyc.units import GIB, MIB
from tests.planning.measured.replay import Start, facts_of, folder, starts, wish_of

H100, L4, T4, A10G = find("h100"), find("l4"), find("t4"), find("a10g")
LLAMA = Layer(Mixer.FULL, heads=32, kv_heads=8, head_size=128, value_head_size=128, intermediate=14336)
MOE = Layer(Mixer.FULL, heads=32, kv_heads=4, head_size=128, experts=Experts(128, 8, 768))
MLA = Layer(Mixer.LATENT, heads=16, kv_heads=1, intermediate=2048, latent=Latent(512, 64, 128, 128))


def model(layer: Layer = LLAMA, *, vocab: int = 128256, name: str = "LlamaForCausalLM", **more: object) -> ModelFacts:
    architecture = Architecture(name, 4096, vocab, "bfloat16", (layer,) * 32, **more)  # type: ignore[arg-type]
    return ModelFacts((name,), architecture=architecture)


def options(version: tuple[int, ...] = (0, 19, 0), **more: object) -> Serving:
    given: dict[str, object] = {"max_num_seqs": 1024, "max_num_batched_tokens": 8192, **more}
    return Serving(version, **given)  # type: ignore[arg-type]


def total(terms: tuple[Term, ...], part: str = "activation") -> int:
    return sum(term.size for term in terms if term.part == part)


def whole(facts: ModelFacts, pp: int = 1, index: int = 0) -> Stage:
    assert facts.architecture is not None
    count = len(facts.architecture.layers)
    return Stage(index, pp, index * count // pp, (index + 1) * count // pp)


def size(facts: ModelFacts, serving: Serving, stage: Stage | None = None) -> int:
    return total(activation(facts, serving, H100, stage or whole(facts)))


def measured() -> Iterator[Start]:
    """Rows that log an activation, with version and card known and the batch either given or vLLM's own."""
    for start in starts():
        if start.activation_gib is not None and start.gpu and start.version_known == "exact" and start.gpu != "t4":
            yield start


@cache
def facts_for(name: str, at: Path) -> ModelFacts:
    return facts_of(folder(name, at))


def foretold(start: Start, at: Path) -> tuple[float, Term]:
    facts = facts_for(start.model, at / start.model.replace("/", "--"))
    card = find(start.gpu or "")
    serving = decided(facts, card, wish_of(start), tp=start.tp, pp=start.pp, quantization=start.quantization)
    terms = activation(facts, serving, card, whole(facts, start.pp))
    return total(terms) / GIB, terms[0]


def test_logged_starts_are_foretold_within_their_band(tmp_path: Path) -> None:
    errors: dict[tuple[int, ...], list[float]] = {}
    for start in measured():
        assert start.activation_gib is not None
        gib, term = foretold(start, tmp_path)
        error = abs(gib - start.activation_gib)
        assert error <= term.band / GIB + 0.005, f"row {start.id}: {gib:.3f} for {start.activation_gib}: {term.formula}"
        errors.setdefault(start.version[:2], []).append(error)
    assert {(0, 11), (0, 15), (0, 16), (0, 17), (0, 18), (0, 19)} <= errors.keys()
    for version, found in sorted(errors.items()):
        print(f"{version}: {len(found)} rows, median {statistics.median(found):.4f} GiB, worst {max(found):.3f}")
        if version < (0, 20):
            assert statistics.median(found) < 0.006, version


def test_a_llama_on_an_h100_is_the_sum_of_what_the_sampler_holds() -> None:
    """Row 19: 1.89 GiB. ½ + 1 + 1 + 1 of 1024×128256×4, 132 rows of the Triton buffer, hidden and twice the rows."""
    cell = 1024 * 128256 * 4
    by_hand = cell * 7 // 2 + 132 * 128256 * 4 + 8192 * 4096 * 2 + 2 * 1024 * 4096 * 2 + 32 * MIB + 3 * MIB // 2
    assert size(model(), options()) == by_hand


@pytest.mark.parametrize(("version", "units"), [
    ((0, 9, 2), 9.5), ((0, 11, 0), 9.5), ((0, 16, 0), 9.5), ((0, 17, 0), 3.5), ((0, 20, 0), 3.5), ((0, 21, 0), 3.5),
])  # fmt: skip
def test_units_of_the_first_runner(version: tuple[int, ...], units: float) -> None:
    moment = sampler(128000, 1024, options(version), H100, V1)
    buffer = 132 * 128000 * 4 if (0, 17) <= version < (0, 21) else 0
    assert moment.size == int(units * 1024 * 128000 * 4) + buffer


@pytest.mark.parametrize(("version", "units"), [((0, 24), 1.5), ((0, 28), 0.5), ((0, 32), 0.5), ((0, 33), 3.5)])
def test_units_of_the_second_runner(version: tuple[int, ...], units: float) -> None:
    assert sampler(128000, 256, options(version), L4, V2).size == int(units * 256 * 128000 * 4)


def test_logits_that_are_float32_already_are_not_copied() -> None:
    """Row 22 has a forward pass twice as wide, but a narrower sampler."""
    half, single = (sampler(128000, 1024, options(dtype=dtype), H100, V1) for dtype in ("bfloat16", "float32"))
    assert half.size - single.size == 1024 * 128000 * 2


def test_a_small_batch_is_sorted_with_more_of_its_own() -> None:
    many, few = (sampler(128000, count, options((0, 16)), H100, V1).size / count for count in (128, 127))
    assert few / many == 12.5 / 9.5


def test_no_flashinfer_below_seven_five_keeps_the_triton_buffer() -> None:
    card = replace(T4, compute_capability=70)
    assert "buffer" in sampler(128000, 256, options((0, 21)), card, V1).formula
    assert "buffer" not in sampler(128000, 256, options((0, 21)), T4, V1).formula


def test_padding_of_the_output_layer() -> None:
    assert padded(49155, 1) == 49216
    assert padded(49155, 2) == 49216
    assert padded(128256, 3) % 3 == 0
    assert padded(128256, 3) >= 128256


def test_expert_workspaces_stay_while_the_sampler_runs() -> None:
    """Row 57: both of tokens × 8 × 2048, half a GiB, on top of what a dense model of that vocabulary takes."""
    facts = model(MOE, vocab=151936, name="Qwen3MoeForCausalLM")
    assert facts.architecture is not None
    narrow = replace(facts, architecture=replace(facts.architecture, hidden=2048))
    dense = model(replace(LLAMA, intermediate=2048), vocab=151936)
    assert dense.architecture is not None
    bare = replace(dense, architecture=replace(dense.architecture, hidden=2048))
    assert size(narrow, options()) - size(bare, options()) == 2 * 8192 * 8 * 2048 * 2
    assert size(narrow, options((0, 13))) == size(bare, options((0, 13)))  # before that they lived in the layer only


def test_deep_gemm_rounds_every_experts_rows() -> None:
    facts = model(MOE, vocab=32000)
    blocks = replace(facts, quantization="fp8", quantization_detail={"weight_block_size": [128, 128]})
    more = size(blocks, options()) - size(facts, options())
    assert 0 < more <= 2 * (128 * 128 + 128) * 4096 * 2
    ada = find("l40s")
    assert total(activation(blocks, options(), ada, whole(blocks))) == total(
        activation(facts, options(), ada, whole(facts))
    )


def test_latent_attention_expands_a_context() -> None:
    facts = model(MLA, name="DeepseekV2ForCausalLM")
    assert facts.architecture is not None
    short, long = (
        forward(facts.architecture, [MLA], options(max_model_len=length, max_num_seqs=16), H100, runner=V1, int8=False)
        for length in (8192 // 2, 8192)
    )
    assert long.size - short.size == (65536 - 32768) * 16 * 256 * 2
    assert "MLA context 65536×16×256" in long.formula


def test_stages_without_a_sampler_need_only_the_forward_pass() -> None:
    facts = model()
    first, last = (size(facts, options(pp=2), whole(facts, 2, index)) for index in (0, 1))
    assert first < last
    assert abs(first / GIB - 1.10) < 0.01  # row 26


def test_an_embedder_has_no_sampler() -> None:
    assert size(model(name="LlamaModel"), options()) < size(model(), options())


def test_images_take_more_and_their_pixels_stay() -> None:
    tower = Tower("vision", hidden=1280, layers=32, heads=16, intermediate=3420)
    seeing = model(towers=(tower,), name="Qwen2_5_VLForConditionalGeneration")
    assert size(seeing, options()) >= size(model(), options()) + (65536 * 1176 + 16384 * 4096) * 2


def test_drafts_are_sampled_too() -> None:
    drafting = options(draft=Draft("ngram", 4))
    assert size(model(), drafting) > size(model(), options())


def test_an_odd_vocabulary_takes_memory_outside_torch() -> None:
    odd, even = (activation(model(vocab=count), options(), H100, Stage(0, 1, 0, 32)) for count in (49155, 49156))
    assert total(odd, "non_torch") > total(even, "non_torch") == 0


def test_buffers_count_since_memory_is_taken_as_what_is_missing() -> None:
    facts = model()
    names = [term.name for term in activation(facts, options((0, 27)), H100, whole(facts))]
    assert names == ["activations", "buffers of the runner"]
    assert total(activation(facts, options((0, 29)), H100, whole(facts))) > 1024 * 128256 * 4  # penalties


def test_nothing_on_a_cpu_and_nothing_unknown() -> None:
    assert activation(model(), options(on_cpu=True), H100, Stage(0, 1, 0, 32)) == ()
    assert activation(ModelFacts(("Strange",)), options(), H100, Stage(0, 1, 0, 1)) == ()


@pytest.mark.parametrize("version", [(0, 6, 6), (0, 9, 2), (0, 13), (0, 19), (0, 22), (0, 26), (0, 33)])
@pytest.mark.parametrize("layer", [LLAMA, MOE, MLA])
def test_more_of_anything_never_needs_less(version: tuple[int, ...], layer: Layer) -> None:
    facts = model(layer)
    base = size(facts, options(version, max_num_seqs=256, max_num_batched_tokens=2048))
    for more in (
        {"max_num_seqs": 512}, {"max_num_batched_tokens": 4096}, {"max_model_len": 32768},
    ):  # fmt: skip
        given: dict[str, object] = {"max_num_seqs": 256, "max_num_batched_tokens": 2048, **more}
        assert size(facts, options(version, **given)) >= base, more
    split = size(facts, options(version, max_num_seqs=256, max_num_batched_tokens=2048, tp=4))
    assert split <= base
    wider = model(layer, vocab=256000)
    assert size(wider, options(version, max_num_seqs=256, max_num_batched_tokens=2048)) >= base


def test_formulas_show_what_counts() -> None:
    (term,) = activation(model(), options(), H100, Stage(0, 1, 0, 32))
    assert term.formula.startswith("sampler: logits 1024×128256")
    parts = [float(part.split()[-1]) for part in term.formula.removesuffix(" GiB").split(": ")[1].split(" + ")]
    assert abs(sum(parts) - term.size / GIB) < 0.005
    assert "0.19.0" in term.source
    assert term.band > 0


def test_the_peak_is_the_fullest_moment() -> None:
    low, high = Moment("low", (Tensor("a", 1),)), Moment("high", (Tensor("a", 1), Tensor("b", 1)))
    assert peak([low, high]) is high
    assert peak([low.beside([Tensor("c", 5)]), high]).name == "low"


@pytest.mark.parametrize(("version", "card", "expected"), [
    ((0, 6, 6), H100, V0), ((0, 7, 3), H100, V0), ((0, 8, 5), H100, V1), ((0, 8, 5), T4, V0), ((0, 9, 2), T4, V0),
    ((0, 10, 0), T4, V1), ((0, 33), H100, V1),
])  # fmt: skip
def test_the_engine_by_version_and_card(version: tuple[int, ...], card: object, expected: str) -> None:
    assert engine(version, card, model(), dtype="bfloat16") == expected  # type: ignore[arg-type]


def test_float32_and_states_had_to_use_the_first_engine() -> None:
    assert engine((0, 8, 5), H100, model(), dtype="float32") == V0
    assert engine((0, 9, 2), H100, model(replace(LLAMA, mixer=Mixer.MAMBA2)), dtype="bfloat16") == V0


@pytest.mark.parametrize(("version", "name", "layer", "expected"), [
    ((0, 21), "Qwen3ForCausalLM", LLAMA, V1), ((0, 22), "Qwen3ForCausalLM", LLAMA, V2),
    ((0, 22), "LlamaForCausalLM", LLAMA, V1), ((0, 23), "LlamaForCausalLM", LLAMA, V2),
    ((0, 24), "Qwen3MoeForCausalLM", MOE, V1), ((0, 24), "DeepseekV2ForCausalLM", MLA, V2),
    ((0, 25), "Gemma3ForCausalLM", LLAMA, V2), ((0, 25), "Qwen3MoeForCausalLM", MOE, V1),
    ((0, 29), "Qwen3MoeForCausalLM", MOE, V2),
])  # fmt: skip
def test_the_runner_by_version_and_family(version: tuple[int, ...], name: str, layer: Layer, expected: str) -> None:
    assert runner(options(version), H100, model(layer, name=name)) == expected


def test_drafts_that_the_second_runner_cannot_make() -> None:
    assert runner(options((0, 29), draft=Draft("ngram", 4)), H100, model()) == V1
    assert runner(options((0, 33), draft=Draft("ngram", 4)), H100, model()) == V2
    assert runner(options((0, 33), draft=Draft("suffix", 4)), H100, model()) == V1


def test_wishes_reach_the_terms() -> None:
    wish = Wish((0, 19, 0), max_num_seqs=8, max_num_batched_tokens=2048)
    serving = decided(model(), A10G, wish, tp=1, pp=1)
    assert total(activation(model(), serving, A10G, whole(model()))) < GIB // 2
