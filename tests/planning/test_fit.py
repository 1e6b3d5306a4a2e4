"""One candidate and the survey of all: what is refused and why, what is doubted, what is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyc.inspection import architecture, inspect
from lyc.planning.catalogue.cards import CARDS
from lyc.planning.fit import LEAST_CONTEXT, STEP, fit
from lyc.planning.survey import survey
from lyc.records.card import Price
from lyc.records.model import Listing, ModelFacts, ModelRef, SourceFile, SourceKind
from lyc.records.wish import Wish
from lyc.units import GIB

CONFIGS = Path(__file__).parent / "measured" / "configs"
VERSION = (0, 19, 0)
LLAMA_8B, QWEN_72B, PHI_4 = "meta-llama--Llama-3.1-8B-Instruct", "Qwen--Qwen2.5-72B-Instruct", "microsoft--phi-4"


@cache
def facts(name: str) -> ModelFacts:
    """Of a folder that holds config.json alone."""
    text = (CONFIGS / f"{name}.json").read_bytes()
    listing = Listing(ModelRef(SourceKind.LOCAL, f"/{name}"), (SourceFile("config.json", len(text)),))
    found = inspect(listing, lambda _file, start, length: text[start:][: length or None], weights_needed=False)
    assert found.architecture == architecture(json.loads(text))
    return found


def wish(*cards: str, **more: object) -> Wish:
    return replace(Wish(VERSION, tuple(CARDS[name] for name in cards)), **more)  # type: ignore[arg-type]


def test_the_terms_add_up_to_what_vllm_may_use() -> None:
    asked = wish(utilization=Fraction(95, 100))
    one = fit(facts(LLAMA_8B), asked, CARDS["h100"], tp=1, pp=1, quantization=None)
    inside = sum(term.size for term in one.terms if term.inside)
    assert inside == pytest.approx(0.95 * CARDS["h100"].cuda_total, abs=1)
    assert all(term.formula for term in one.terms if term.size)
    assert all(term.source for term in one.terms if term.size)


def test_what_has_no_room_is_refused_in_figures() -> None:
    one = fit(facts(QWEN_72B), wish(), CARDS["h100"], tp=1, pp=1, quantization=None)
    assert not one.fits
    assert one.reasons[0].ref == "no-room"
    assert "of 79.19 GiB" in one.reasons[0].text


def test_a_split_that_vllm_refuses_is_refused() -> None:
    one = fit(facts(PHI_4), wish(), CARDS["h100"], tp=4, pp=1, quantization=None)  # 10 KV heads
    assert one.reasons[0].ref == "impossible-split"
    assert fit(facts(PHI_4), wish(), CARDS["h100"], tp=2, pp=1, quantization=None).fits


def test_a_card_that_cannot_run_the_format_is_refused() -> None:
    older = replace(wish(), version=(0, 11, 0))
    one = fit(facts(LLAMA_8B), older, CARDS["t4"], tp=2, pp=1, quantization="fp8")
    assert one.reasons[0].ref == "card-cannot-run"
    assert "7.5" in one.reasons[0].text
    half = fit(facts(LLAMA_8B), wish(dtype="bfloat16"), CARDS["t4"], tp=2, pp=1, quantization=None)
    assert half.reasons[0].ref == "card-cannot-run"
    assert fit(facts(LLAMA_8B), wish(), CARDS["t4"], tp=2, pp=1, quantization=None).serving.dtype == "float16"


def test_a_context_that_does_not_fit_is_shortened_unless_it_was_asked_for() -> None:
    model, card = facts(LLAMA_8B), CARDS["l4"]
    one = fit(model, wish(), card, tp=1, pp=1, quantization=None)
    assert one.fits
    assert one.serving.max_model_len % STEP == 0
    assert LEAST_CONTEXT <= one.serving.max_model_len < 131072
    assert "131072" in one.warnings[0]
    assert not one.doubtful
    asked = fit(model, wish(max_model_len=131072), card, tp=1, pp=1, quantization=None)
    assert [reason.ref for reason in asked.reasons] == ["kv-too-small"]


def test_a_load_that_the_cache_cannot_hold_is_refused() -> None:
    model, card = facts(LLAMA_8B), CARDS["h100"]
    few, many = (wish(max_model_len=8192, context=8192, concurrency=n) for n in (32, 320))
    assert fit(model, few, card, tp=1, pp=1, quantization=None).fits
    assert fit(model, many, card, tp=1, pp=1, quantization=None).reasons[0].ref == "too-few-at-once"


def test_more_than_is_free_on_an_empty_card_is_refused() -> None:
    asked = wish(utilization=Fraction(1))
    one = fit(facts(LLAMA_8B), asked, CARDS["h100"], tp=1, pp=1, quantization=None)
    assert one.reasons[0].ref == "too-much-asked"


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["h100", "l4", "a100-80", "b200", "rtx-4090"]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(2048, 131072),
)
def test_more_context_never_makes_it_fit_and_more_cards_never_shrink_the_cache(card: str, tp: int, length: int) -> None:
    model = facts(LLAMA_8B)
    one, longer = (
        fit(model, wish(max_model_len=n), CARDS[card], tp=tp, pp=1, quantization=None) for n in (length, length * 2)
    )
    assert one.fits or not longer.fits
    if tp < 8 and one.cache:
        wider = fit(model, wish(max_model_len=length), CARDS[card], tp=2 * tp, pp=1, quantization=None)
        assert wider.cache is not None
        assert wider.cache.tokens >= one.cache.tokens


def euros(amount: str) -> Price:
    return Price(Decimal(amount), "EUR", "2026-01-01", "a test")


def test_the_cheapest_that_is_sure_is_chosen() -> None:
    asked = wish("l4", "h100", "a100-80", prices={"l4": euros("0.80"), "h100": euros("2.80"), "a100-80": euros("1.60")})
    found = survey(facts(LLAMA_8B), replace(asked, context=32768, concurrency=4))
    assert found.chosen is not None
    assert found.chosen.card.name == "a100-80"
    hourly = [one.cost.per_hour for one in found.fits if one.cost]
    assert hourly == sorted(hourly)
    assert {one.card.name for one in found.rejected} == {"l4"} or found.fits[0].count > 1


def test_requantized_weights_are_an_alternative_and_never_chosen_unasked() -> None:
    found = survey(facts(LLAMA_8B), wish("h100"))
    assert [one.quantization for one in found.fits] == [None, "fp8"]
    assert found.chosen is not None
    assert found.chosen.quantization is None
    assert found.fits[1].size("weights") < 0.6 * found.fits[0].size("weights")


def test_what_was_fixed_is_answered_as_it_was_asked() -> None:
    found = survey(facts(QWEN_72B), wish("h100", tp=1, max_model_len=8192))
    assert (len(found.fits), len(found.rejected)) == (0, 1)
    assert found.nearest is not None
    assert found.nearest.fits


def test_the_smallest_count_that_does_and_what_fell_short_of_it() -> None:
    found = survey(facts(QWEN_72B), wish("h100", max_model_len=32768, requantize=False))
    assert [(one.card.name, one.count) for one in found.fits] == [("h100", 4)]
    assert [one.count for one in found.rejected] == [2, 1] or [one.count for one in found.rejected] == [1, 2]


def test_pipeline_stages_where_the_heads_cannot_be_split() -> None:
    found = survey(facts(PHI_4), wish("h100", count=4))
    assert found.chosen is not None
    assert (found.chosen.serving.tp, found.chosen.serving.pp) == (2, 2)


def test_every_fit_is_told_its_speed() -> None:
    found = survey(facts(LLAMA_8B), wish("h100", "l4"))
    for one in found.fits:
        assert one.speed is not None
        assert one.speed.decode > 0
        assert 1 <= one.speed.concurrency <= 32


def test_nothing_known_of_the_model_is_said() -> None:
    model = facts(LLAMA_8B)
    assert model.architecture is not None
    strange = replace(model, architecture=replace(model.architecture, known=False, name="StrangeForCausalLM"))
    assert any("StrangeForCausalLM" in note for note in survey(strange, wish("h100")).notes)
    assert survey(strange, wish("h100")).fits[0].band > GIB


def test_naming_the_checkpoints_own_method_changes_nothing() -> None:
    model = facts("Qwen--Qwen3-8B-FP8")
    plain, named = (survey(model, wish("h100", tp=1, quantization=method)).chosen for method in (None, "fp8"))
    assert plain is not None
    assert named is not None
    assert (named.quantization, named.terms, named.cache) == (None, plain.terms, plain.cache)


def test_a_method_that_needs_a_checkpoint_made_so_is_doubted() -> None:
    found = survey(facts(LLAMA_8B), wish("h100", tp=1, quantization="awq"))
    assert found.chosen is not None
    assert "config.json says nothing of awq" in found.chosen.warnings[0]
