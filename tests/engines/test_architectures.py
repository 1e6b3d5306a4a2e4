"""Which architectures are let through, and how the others are turned away."""

from __future__ import annotations

import pytest

from lyc.engines.architectures import check, task
from lyc.engines.tables import architectures
from lyc.engines.versions import pinned
from lyc.errors import SpecError
from lyc.records.model import ModelFacts

CPU = pinned(on_cpu=True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("LlamaForCausalLM",), "generate"),
        (("Qwen3ForCausalLM",), "generate"),
        (("HeliumForCausalLM",), "generate"),  # through the Transformers library
        (("BertModel",), "embed"),
        (("Qwen3ForSequenceClassification",), "classify"),  # known by its sister, Qwen3ForCausalLM
        (("SomethingNew", "LlamaForCausalLM"), "generate"),
    ],
)
def test_what_a_model_does(names: tuple[str, ...], expected: str) -> None:
    facts = ModelFacts(architectures=names)
    check(facts, CPU)
    assert task(facts) == expected


def test_a_misspelt_architecture_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError) as caught:
        check(ModelFacts(architectures=("LamaForCausalLM",)), CPU)
    assert caught.value.ref == "unsupported-architecture"
    assert any("LlamaForCausalLM" in line for line in caught.value.detail)


def test_an_architecture_that_was_removed_says_so() -> None:
    gone = next(name for name, kind in architectures().items() if kind == "gone")
    with pytest.raises(SpecError) as caught:
        check(ModelFacts(architectures=(gone,)), CPU)
    assert "removed" in caught.value.why


def test_a_draft_cannot_be_served_alone() -> None:
    with pytest.raises(SpecError) as caught:
        check(ModelFacts(architectures=("LlamaForCausalLMEagle3",)), CPU)
    assert (caught.value.ref, "--speculative" in caught.value.hint) == ("draft-only-model", True)


def test_no_architecture_at_all() -> None:
    with pytest.raises(SpecError) as caught:
        check(ModelFacts(architectures=()), CPU)
    assert caught.value.ref == "no-architecture"


def test_a_type_of_config_that_nobody_reads() -> None:
    with pytest.raises(SpecError) as caught:
        check(ModelFacts(("LlamaForCausalLM",), model_type="lama"), CPU)
    assert caught.value.ref == "unknown-model-type"
    assert "it does know llama" in caught.value.detail
    check(ModelFacts(("LlamaForCausalLM",), model_type="llama"), CPU)
