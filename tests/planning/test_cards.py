"""The catalogue: what stands in it, how its entries are found, and what runs on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lyc.engines.tables import quantization_methods
from lyc.engines.versions import VLLM_VERSION
from lyc.errors import UsageError
from lyc.hosts.nvidia import catalogue_name
from lyc.planning.catalogue.cards import CARDS, canonical, find, nearest, of_product, runs
from lyc.planning.catalogue.precision import activations, formats, operand
from lyc.records.card import Card
from lyc.units import GIB

PINNED = tuple(int(part) for part in VLLM_VERSION.split("."))
DATA = Path(__file__).resolve().parents[2] / "lyc/planning/catalogue/data"
each_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
PRODUCTS = [(product, card.name) for card in CARDS.values() if card.vendor == "nvidia" for product in card.products]

WANTED = (
    "t4 l4 a10 a10g a40 a100-40 a100-40-pcie a100-80 a100-80-pcie rtx-3090 rtx-4090 rtx-5090 rtx-a5000 rtx-a6000 "
    "l40 l40s rtx-6000-ada rtx-pro-6000 h100-pcie h100 h100-nvl h200 gh200-96 gh200-144 b200 gb200 b300 gb300 "
    "mi300x mi325x"
)
"""Cards of the market that must be there."""


def test_the_market_is_in_it() -> None:
    assert set(WANTED.split()) <= set(CARDS)


@each_card
def test_every_figure_is_plausible_and_has_a_source(card: Card) -> None:
    assert 0.9 * card.memory < card.cuda_total < card.memory
    assert 10**11 < card.bandwidth < 10**13
    assert 0 < card.link_bandwidth < card.bandwidth
    assert card.fp16 > 10**13
    assert (card.compute_capability is None) == (card.vendor == "amd")
    assert 1 <= card.per_host <= 8
    assert {"cuda_total", "bandwidth", "tflops", "link"} <= {line.partition(":")[0] for line in card.sources}
    assert all(line.partition(": ")[2] for line in card.sources)


@each_card
def test_units_come_with_their_generation(card: Card) -> None:
    capability = card.compute_capability
    if capability is None:
        return
    assert (card.bf16 > 0) == (capability >= 80)
    assert (card.fp8 > 0) == (capability >= 89)
    assert (card.fp4 > 0) == (capability >= 100)
    if card.fp8:
        assert card.fp8 == pytest.approx(2 * card.bf16, rel=0.02)  # dense beside dense


def test_a_measured_size_is_what_logs_say() -> None:
    assert find("h100").cuda_total / GIB == pytest.approx(79.19, abs=0.01)
    assert find("b300").cuda_total / GIB == pytest.approx(267.69, abs=0.01)
    assert find("h100").measured
    assert not find("h100-pcie").measured


@pytest.mark.parametrize(("product", "name"), PRODUCTS)
def test_what_nvidia_smi_prints_is_its_card(product: str, name: str) -> None:
    found = of_product(product)
    assert found is not None
    assert found.name == name
    assert find(product).name == name
    assert catalogue_name(product) == name


@each_card
def test_a_card_is_found_by_all_its_names(card: Card) -> None:
    for name in (card.name, *card.aliases):
        assert {find(form) for form in (name, name.upper(), name.replace("-", " "), name.replace("-", ""))} == {card}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("h100-sxm", "h100"),
        ("H100 SXM5", "h100"),
        ("a100", "a100-80"),
        ("A100-40GB", "a100-40"),
        ("rtx4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("GeForce RTX 4090", "rtx-4090"),
        ("nvidia-l40s", "l40s"),
        ("tesla t4", "t4"),
        ("gh200", "gh200-96"),
        ("RTX PRO 6000", "rtx-pro-6000"),
        ("6000 ada", "rtx-6000-ada"),
        ("instinct mi300x", "mi300x"),
        (" b200 ", "b200"),
    ],
)
def test_names_as_people_write_them(written: str, name: str) -> None:
    assert find(written).name == name


@pytest.mark.parametrize("written", ["h10", "l40d", "5091", "rtx", "A100-80G", "", "---", "x" * 10_000, "v100"])
def test_an_unknown_name_gets_the_nearest(written: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(written)
    assert caught.value.ref == "unknown-gpu"
    assert "lyc gpus" in caught.value.hint


def test_a_name_is_made_canonical_where_it_can_be() -> None:
    assert [canonical(name) for name in ("A100", "h100", "v100", "")] == ["a100-80", "h100", "v100", ""]


def test_the_nearest_names() -> None:
    assert nearest("h10")[0] == "h100"
    assert "l40s" in nearest("l40d")
    assert nearest("5091")[0] == "rtx-5090"
    assert nearest("qqqqqq") == []


def test_a_product_that_only_resembles_one_is_not_taken_for_it() -> None:
    assert of_product("NVIDIA A100-SXM-64GB") is None
    assert of_product("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert of_product("") is None


def test_the_pinned_engine_says_the_same_of_each_method() -> None:
    """Two tables of one truth: the pinned engine's own, and that of all versions."""
    table = json.loads((DATA / "quantization.json").read_text(encoding="utf-8"))["cuda"]
    for name, method in quantization_methods().items():
        history = [row for row in table[name] if tuple(int(part) for part in row[0].split(".")) <= PINNED]
        assert history[-1][1] == method.min_capability, name


@each_card
def test_the_pinned_engine_agrees_card_by_card(card: Card) -> None:
    capability = card.compute_capability
    if capability is None:
        return
    for name, method in quantization_methods().items():
        detail = {"quant_algo": "FP8"} if name == "modelopt" else None
        assert (runs(card, name, PINNED, detail) is None) == (capability >= method.min_capability), name


@pytest.mark.parametrize(
    ("card", "method", "version", "word"),
    [
        ("t4", "fp8", (0, 12, 0), "8.0"),
        ("t4", "fp8", (0, 14, 0), None),
        ("t4", "mxfp4", (0, 32, 0), "7.5"),
        ("a100-80", "fp8", (0, 6, 6), None),
        ("a100-80", "mxfp8", (0, 19, 0), "10.0"),
        ("h100", "mxfp4", (0, 8, 5), "0.10.2"),
        ("h100", "mxfp4", (0, 10, 1), None),  # it came somewhere between the releases that were read
        ("h100", "bitsandbytes", (0, 27, 0), None),
        ("h100", "bitsandbytes", (0, 33, 0), "any more"),
        ("h100", "fp8", (0, 99, 0), None),
        ("h100", "fp8", (0, 1, 0), None),
        ("h100", "nonsense", (0, 19, 0), "nonsense"),
        ("mi300x", "fp8", (0, 19, 0), None),
        ("mi300x", "experts_int8", (0, 19, 0), "AMD"),
        ("h100", None, (0, 19, 0), None),
        ("h100", "compressed_tensors", (0, 19, 0), None),
        ("h100", "auto-round", (0, 33, 0), None),  # `inc` takes such checkpoints over
    ],
)
def test_what_runs(card: str, method: str | None, version: tuple[int, ...], word: str | None) -> None:
    reason = runs(find(card), method, version)
    assert (reason is None) == (word is None), reason
    if word is not None and reason is not None:
        assert word in reason


def test_the_variants_of_modelopt_are_told_apart() -> None:
    a100, version = find("a100-80"), (0, 12, 0)
    assert runs(a100, "modelopt", version, {"quant_algo": "FP8"})
    assert runs(a100, "modelopt", version, {"quantization": {"quant_algo": "NVFP4"}}) is None
    assert runs(a100, "modelopt", version) is None  # not known which: the most tolerant


def _scheme(bits: int, kind: str) -> dict[str, object]:
    return {"config_groups": {"group_0": {"input_activations": {"num_bits": bits, "type": kind}}}}


@pytest.mark.parametrize(
    ("method", "detail", "name"),
    [
        (None, None, "16"),
        ("awq", None, "16"),
        ("gptq_marlin", None, "16"),
        ("mxfp4", None, "16"),
        ("fp8", None, "fp8"),
        ("modelopt", {"quant_algo": "NVFP4"}, "fp4"),
        ("modelopt", {"quant_algo": "FP8"}, "fp8"),
        ("compressed-tensors", _scheme(8, "float"), "fp8"),
        ("compressed-tensors", _scheme(8, "int"), "int8"),
        ("compressed-tensors", _scheme(4, "float"), "fp4"),
        ("compressed-tensors", {"config_groups": {"group_0": {"input_activations": None}}}, "16"),
        ("compressed-tensors", {"config_groups": "nonsense"}, "16"),
        ("compressed-tensors", None, "16"),
    ],
)
def test_what_a_method_multiplies(method: str | None, detail: dict[str, object] | None, name: str) -> None:
    assert activations(method, detail) == name


def test_an_operand_is_what_the_card_has() -> None:
    assert operand(find("h100"), "fp8", "bfloat16").name == "fp8"
    assert operand(find("a100-80"), "fp8", "bfloat16").name == "bf16"
    assert operand(find("h100"), "modelopt_fp4", "bfloat16").name == "bf16"
    assert operand(find("b200"), "modelopt_fp4", "bfloat16").name == "fp4"
    assert operand(find("t4"), None, "bfloat16").name == "fp16"
    # GeForce: what vLLM's GEMMs reach with fp32 accumulation, also in fp16
    assert operand(find("rtx-3090"), None, "float16").rate == find("rtx-3090").bf16


@each_card
def test_formats(card: Card) -> None:
    found = formats(card, PINNED)
    assert set(found.values()) <= {"native", "weights", "no"}
    assert found["fp16"] == "native"
    assert (found["bf16"] == "native") == (card.bf16 > 0)
    assert (found["fp8"] == "native") == (card.fp8 > 0)
    assert (found["nvfp4"] == "native") == (card.fp4 > 0)
    assert found["awq"] == found["gptq"] == "weights"
