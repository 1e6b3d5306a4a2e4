"""The small models themselves, as inspection sees them: each variant is what its name says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lyc.engines.speculative import check
from lyc.engines.versions import pinned
from lyc.errors import SpecError
from lyc.inspection import inspect
from lyc.records.deployment import Speculative
from lyc.records.model import ModelFacts, ModelRef, SourceKind
from lyc.sources.local import LocalSource
from lyc.testing.models import TinyModels


def facts(folder: Path) -> ModelFacts:
    source = LocalSource()
    listing = source.resolve(ModelRef(SourceKind.LOCAL, str(folder)))
    return inspect(listing, lambda file, start, length: source.read(listing, file, start=start, length=length))


@pytest.mark.parametrize(
    ("method", "quantization"),
    [("w8a8", "compressed-tensors"), ("w4a16", "compressed-tensors"), ("fp8", "compressed-tensors"), ("awq", "awq"),
     ("gptq", "gptq"), ("gptq-asymmetric", "gptq")],
)  # fmt: skip
def test_quantized(tiny: TinyModels, method: str, quantization: str) -> None:
    found = facts(tiny.quantized(method))
    assert found.quantization == quantization
    assert (found.weights_bytes or 0) < (facts(tiny.base).weights_bytes or 0)


def test_drafts(tiny: TinyModels) -> None:
    base, draft, other = facts(tiny.base), facts(tiny.draft()), facts(tiny.other_vocabulary())
    assert base.vocabulary
    assert draft.vocabulary == base.vocabulary
    assert other.vocabulary != base.vocabulary
    assert other.vocab_size == base.vocab_size
    assert facts(tiny.mtp()).num_mtp_layers == 1
    assert facts(tiny.eagle("eagle3")).architectures == ("LlamaForCausalLMEagle3",)


def test_a_draft_with_another_vocabulary_is_refused(tiny: TinyModels) -> None:
    """The whole way: from two folders, of which only the tokenizers' words differ."""
    wish, build = Speculative("draft_model", "other"), pinned(on_cpu=True)
    check(wish, facts(tiny.base), facts(tiny.draft()), build)
    with pytest.raises(SpecError) as caught:
        check(wish, facts(tiny.base), facts(tiny.other_vocabulary()), build)
    assert caught.value.ref == "draft-vocabulary-differs"


def test_shards_hold_what_one_file_holds(tiny: TinyModels) -> None:
    assert facts(tiny.sharded(3)).weights_bytes == facts(tiny.base).weights_bytes
    assert len(list(tiny.sharded(3).glob("*.safetensors"))) == 3


def test_broken_in_every_way(tiny: TinyModels) -> None:
    refs = []
    for folder in (tiny.truncated(), tiny.pickle(), tiny.without("config.json"), tiny.without("tokenizer*", "special*"),
                   tiny.without("*.safetensors")):  # fmt: skip
        with pytest.raises(SpecError) as caught:
            facts(folder)
        refs.append(caught.value.ref)
    assert refs == ["truncated-weights", "pickle-weights", "no-config", "no-tokenizer", "no-weights"]


def test_a_changed_config(tiny: TinyModels) -> None:
    folder = tiny.changed("no-type", model_type=None, architectures=["FooForCausalLM"])
    document = json.loads((folder / "config.json").read_text())
    assert (document["architectures"], "model_type" in document) == (["FooForCausalLM"], False)


def test_a_variant_is_made_once(tiny: TinyModels) -> None:
    made = tiny.quantized("w8a8") / "model.safetensors"
    before = made.stat().st_mtime_ns
    assert (tiny.quantized("w8a8") / "model.safetensors").stat().st_mtime_ns == before
