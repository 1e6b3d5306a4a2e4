"""Which draft is let through with which model, and what vLLM is told."""

from __future__ import annotations

import pytest

from lyc.engines.speculative import METHODS, check, vllm_config
from lyc.engines.versions import pinned
from lyc.errors import SpecError
from lyc.records.deployment import Speculative
from lyc.records.model import ModelFacts

CPU = pinned(on_cpu=True)
MODEL = ModelFacts(("LlamaForCausalLM",), vocab_size=100, vocabulary="sha256:a", hidden_size=64)
HEAD3 = ModelFacts(("LlamaForCausalLMEagle3",), vocab_size=100, hidden_size=64)


def refusal(wish: Speculative, model: ModelFacts = MODEL, draft: ModelFacts | None = None) -> SpecError:
    with pytest.raises(SpecError) as caught:
        check(wish, model, draft, CPU)
    assert caught.value.hint
    return caught.value


def test_no_wish_is_right() -> None:
    check(None, MODEL, None, CPU)


@pytest.mark.parametrize(
    ("wish", "model", "draft"),
    [
        (Speculative("ngram"), MODEL, None),
        (Speculative("ngram", tokens=3), MODEL, None),
        (Speculative("draft_model", "d"), MODEL, MODEL),
        (Speculative("eagle", "d"), MODEL, MODEL),
        (Speculative("eagle3", "d"), MODEL, HEAD3),
        (Speculative("mtp"), ModelFacts(("Glm4MoeForCausalLM",), num_mtp_layers=1), None),
    ],
)
def test_what_is_right(wish: Speculative, model: ModelFacts, draft: ModelFacts | None) -> None:
    check(wish, model, draft, CPU)


def test_suffix_needs_its_package() -> None:
    assert refusal(Speculative("suffix")).ref == "speculative-needs-package"
    check(Speculative("suffix"), MODEL, None, CPU, distributions={"arctic-inference"})


@pytest.mark.parametrize(
    ("wish", "draft", "ref"),
    [
        (Speculative("ngrma"), None, "unknown-speculative-method"),
        (Speculative("eagle"), None, "speculative-needs-model"),
        (Speculative("ngram", "d"), MODEL, "speculative-takes-no-model"),
        (Speculative("ngram", tokens=0), None, "bad-speculative-tokens"),
        (Speculative("ngram", tokens=10_000), None, "bad-speculative-tokens"),
        (Speculative("mtp"), None, "no-mtp-layers"),
        (Speculative("eagle3", "d"), MODEL, "wrong-draft-method"),
        (Speculative("eagle", "d"), HEAD3, "wrong-draft-method"),
        (
            Speculative("eagle", "d"),
            ModelFacts(("LlamaForCausalLM",), hidden_size=128),
            "draft-head-for-another-model",
        ),
        (
            Speculative("draft_model", "d"),
            ModelFacts(("LlamaForCausalLM",), vocab_size=101),
            "draft-vocabulary-differs",
        ),
        (
            Speculative("draft_model", "d"),
            ModelFacts(("LlamaForCausalLM",), vocab_size=100, vocabulary="sha256:b"),
            "draft-vocabulary-differs",
        ),
    ],
)
def test_what_is_not(wish: Speculative, draft: ModelFacts | None, ref: str) -> None:
    assert refusal(wish, draft=draft).ref == ref


def test_a_vocabulary_that_nobody_knows_is_not_held_against_a_draft() -> None:
    check(Speculative("draft_model", "d"), MODEL, ModelFacts(("LlamaForCausalLM",)), CPU)


def test_what_vllm_is_told() -> None:
    assert vllm_config("ngram", None, None) == {
        "method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2,
    }  # fmt: skip
    assert vllm_config("eagle3", "/d", 2) == {"method": "eagle3", "num_speculative_tokens": 2, "model": "/d"}
    assert vllm_config("mtp", None, None) == {"method": "mtp", "num_speculative_tokens": 1}
    assert all("num_speculative_tokens" in vllm_config(method, "/d", None) for method in METHODS)
