"""What is left for the KV cache, what lies outside torch, and CUDA graphs."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from lyc.planning.budget import available, free_at_start, requested, start_refusal, warm_up_doubt
from lyc.planning.catalogue.cards import CARDS, find
from lyc.planning.cuda_graphs import capture_sizes, cuda_graphs
from lyc.planning.non_torch import non_torch
from lyc.records.architecture import Architecture, Experts, Layer, Mixer
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Term
from lyc.units import GIB

H100 = find("h100")
LAYER = Layer(Mixer.FULL, heads=32, kv_heads=8, head_size=128, intermediate=14336)


def model(count: int = 32, layer: Layer = LAYER) -> ModelFacts:
    return ModelFacts(
        ("LlamaForCausalLM",),
        architecture=Architecture("LlamaForCausalLM", 4096, 128256, "bfloat16", (layer,) * count),
    )


def options(version: tuple[int, ...] = (0, 19, 0), **more: object) -> Serving:
    given: dict[str, object] = {"max_num_seqs": 1024, "utilization": Fraction(95, 100), **more}
    return Serving(version, **given)  # type: ignore[arg-type]


def terms(*gib: float, outside: float = 0) -> tuple[Term, ...]:
    found = tuple(Term("weights", "w", int(size * GIB)) for size in gib)
    return (*found, Term("cuda_graph", "g", int(outside * GIB), inside=False))


@pytest.mark.parametrize("total", [1, 3, 7919, 85_031_714_816])
@pytest.mark.parametrize("part", [Fraction(1, 3), Fraction(9, 10), Fraction(23, 25), Fraction(1)])
def test_the_sum_is_exact(total: int, part: Fraction) -> None:
    asked = options(utilization=part)
    assert requested(total, asked) == math.ceil(total * part)
    assert available(total, asked, ()) == requested(total, asked)
    one = (Term("weights", "w", 5), Term("activation", "a", 7), Term("cuda_graph", "g", 100, inside=False))
    assert available(total, asked, one) == requested(total, asked) - 12


def test_a_fixed_cache_is_what_it_is() -> None:
    assert available(100, options(kv_cache_bytes=5), terms(99)) == 5


def test_a_logged_start_adds_up() -> None:
    """Row 19: 58.11 GiB beside 14.99, 0.25 and 1.89 on 0.95 of an H100."""
    left = available(H100.cuda_total, options(), terms(14.99, 0.25, 1.89, outside=0.84))
    assert abs(left / GIB - 58.11) < 0.02


def test_ninety_five_per_cent_start_and_all_of_it_does_not() -> None:
    assert start_refusal(H100, options()) is None
    text = start_refusal(H100, options(utilization=Fraction(1)))
    assert text is not None
    assert "--util 0.99" in text
    assert start_refusal(H100, options(utilization=Fraction(1), kv_cache_bytes=1)) is None
    assert start_refusal(H100, options(utilization=Fraction(1), on_cpu=True)) is None


def test_every_card_starts_with_the_default() -> None:
    for card in CARDS.values():
        for tp in (1, 2):
            assert start_refusal(card, options((0, 20), utilization=Fraction(92, 100), tp=tp)) is None, card.name


def test_free_memory_of_an_empty_card() -> None:
    assert abs(free_at_start(H100, options()) / GIB - 78.68) < 0.02
    assert abs(free_at_start(H100, options(tp=2)) / GIB - 77.66) < 0.02


def test_the_warm_up_that_ran_out_of_memory_is_doubted() -> None:
    """Rows 43 to 45: gpt-oss-20b on H100, 0.95 failed with tp 1 and tp 2, 0.9 with tp 2 did not."""
    asked = options(quantization="mxfp4")
    assert warm_up_doubt(H100, asked, terms(13.64, 0.25, 2.87, outside=1.14))
    assert warm_up_doubt(H100, replace(asked, tp=2), terms(7.01, 2.07, 2.87, outside=1.14))
    assert not warm_up_doubt(
        H100, replace(asked, tp=2, utilization=Fraction(9, 10)), terms(7.01, 2.07, 2.87, outside=1.55)
    )
    assert not warm_up_doubt(H100, options(), terms(14.99, 0.25, 1.89, outside=0.91))


@pytest.mark.parametrize(("version", "tp", "logged"), [
    ((0, 11), 1, 0.13), ((0, 17), 1, 0.13), ((0, 18), 1, 0.25), ((0, 19), 1, 0.25), ((0, 11), 2, 0.55),
    ((0, 19), 2, 2.07), ((0, 19), 4, 2.13),
])  # fmt: skip
def test_outside_torch_as_logged(version: tuple[int, ...], tp: int, logged: float) -> None:
    term = non_torch(options(version, tp=tp), H100)
    assert abs(term.size / GIB - logged) <= term.band / GIB
    assert abs(term.size / GIB - logged) < 0.03
    assert "fitted" in term.source


def test_outside_torch_is_wider_where_nobody_measured() -> None:
    assert non_torch(options((0, 30), tp=2), find("b300")).band > non_torch(options(tp=2), H100).band
    assert non_torch(options(on_cpu=True), H100).size == 0
    assert non_torch(options((0, 8, 5)), H100).size > non_torch(options((0, 9, 2)), H100).size + GIB // 3


def test_graphs_are_subtracted_since_they_are_counted() -> None:
    before, since = (cuda_graphs(model(), options(version), H100) for version in ((0, 19), (0, 20)))
    assert (before.inside, since.inside) == (False, True)
    assert abs(before.size / GIB - 0.9) < 0.1  # row 19 took 0.91
    second = [cuda_graphs(model(), options(version), H100).inside for version in ((0, 25), (0, 28), (0, 29))]
    assert second == [False, False, True]


def test_eager_engines_capture_none() -> None:
    assert cuda_graphs(model(), options(enforce_eager=True), H100).size == 0
    assert cuda_graphs(model(), options(on_cpu=True), H100).size == 0


def test_graphs_grow_with_layers_and_experts_and_shrink_with_stages() -> None:
    plain = cuda_graphs(model(), options(), H100).size
    assert cuda_graphs(model(64), options(), H100).size > plain
    assert cuda_graphs(model(32, replace(LAYER, experts=Experts(8, 2, 512))), options(), H100).size > plain
    assert cuda_graphs(model(), options(pp=2), H100).size < plain


def test_capture_sizes() -> None:
    sizes = capture_sizes(options())
    assert sizes[:5] == (1, 2, 4, 8, 16)
    assert sizes[-1] == 512
    assert len(sizes) == 51
    assert capture_sizes(options(max_num_seqs=8))[-1] == 16
    assert capture_sizes(options((0, 9, 2), max_num_seqs=8))[-1] == 8
