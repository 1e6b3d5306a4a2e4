"""How a survey looks: to a person, as a bar, and as a document."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from lyc.cli.output import Output
from lyc.cli.plan_bar import PARTS, Piece, bar, legend, pieces
from lyc.cli.plan_document import fit_document, survey_document
from lyc.cli.plan_model import Planned
from lyc.cli.plan_view import drawable, survey_text
from lyc.records.architecture import Architecture, Layer, Mixer, TensorGroup
from lyc.records.card import Card, Price
from lyc.records.fit import Cost, Fit, Reason, Speed, Survey
from lyc.records.model import ModelFacts, ModelRef, SourceKind
from lyc.records.serving import CacheSize, Serving, Term
from lyc.units import GIB


def card(name: str = "h100", total: float = 79.19) -> Card:
    return Card(
        name=name, product=f"NVIDIA {name.upper()}", vendor="nvidia", memory=80 * 10**9, cuda_total=int(total * GIB),
        measured=True, bandwidth=3350 * 10**9, bf16=989 * 10**12, fp16=989 * 10**12, fp8=1979 * 10**12, fp4=0,
        compute_capability=90, link="nvlink", per_host=8, sources=("memory: a log", "rates: a data sheet"),
    )  # fmt: skip


def term(part: str, size: float, **more: object) -> Term:
    return Term(part, part, int(size * GIB), formula="a · b", source="vllm/x.py f, 0.19.0", **more)  # type: ignore[arg-type]


def made(name: str = "h100", total: float = 79.19, **changes: object) -> Fit:
    """A fit of an 8B model."""
    fit = Fit(
        card=card(name, total),
        count=1,
        serving=Serving((0, 19, 0), max_model_len=131072, max_num_seqs=1024, utilization=Fraction("0.92")),
        fits=True,
        terms=(
            term("weights", 14.99), term("non_torch", 0.26, band=GIB // 4), term("activation", 1.44),
            term("cuda_graph", 0.9), term("kv_cache", total * 0.92 - 17.59),
        ),
        band=int(0.3 * GIB),
        needed=16 * GIB,
        cache=CacheSize(blocks=28240, tokens=451840, concurrency=3.447265625),
        price=Price(Decimal("2.79"), "EUR", "2026-09-01", "a provider", "FI"),
        speed=Speed(32, 8192, 1234.5, 38.6, 25000.0, 0.33, "memory", 0.34, "W / b", "a rule"),
        cost=Cost(
            Decimal("2.79"), "EUR", Decimal("0.6278"), Decimal("2036.70"), Decimal("484.30"), Decimal("3395.1")
        ),
    )  # fmt: skip
    return replace(fit, **changes)  # type: ignore[arg-type]


def refused(name: str, count: int = 1, ref: str = "no-room", text: str = "needs 17.59 GiB, 13.10 GiB usable") -> Fit:
    return Fit(card(name, 14.56), count, Serving((0, 19, 0), tp=count), fits=False, reasons=(Reason(ref, text),))


LAYER = Layer(Mixer.FULL, 32, 8, 128, 128, intermediate=14336)
PLANNED = Planned(
    "acme/support-8b",
    ModelRef(SourceKind.HF, "acme/support-8b", "5206a32e" + "0" * 32),
    ModelFacts(
        architectures=("LlamaForCausalLM",), dtype="bfloat16", weights_bytes=int(14.99 * GIB),
        architecture=Architecture("LlamaForCausalLM", 4096, 128256, "bfloat16", (LAYER,) * 32, positions=131072),
        tensors=(TensorGroup("model.embed_tokens.weight", (128256, 4096), "BF16"),),
    ),
)  # fmt: skip


class Screen(io.StringIO):
    """A terminal of `encoding`."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = True) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    encoding = property(lambda self: self._encoding)  # type: ignore[assignment]

    def isatty(self) -> bool:
        return self._terminal


def screen(terminal: bool = True, encoding: str = "utf-8", colour: bool = False) -> Output:
    return Output(stdout=Screen(encoding, terminal), stderr=io.StringIO(), colour=colour)


SURVEY = Survey(
    fits=(
        made("l40s", 44.4, price=None, cost=None, doubtful=True),
        made(),
        made("b200", 178.3, count=8),
    ),
    rejected=(
        refused("t4"),
        refused("t4", 2),
        refused("l40s", 2),
        refused("a10", 1, "kv-too-small", "2.80 GiB are left, one request of 131072 tokens needs 16.00 GiB"),
    ),
    chosen=None,
    notes=("a note",),
)
SURVEY = replace(SURVEY, chosen=SURVEY.fits[1])


def shown(output: Output, survey: Survey = SURVEY, everything: bool = False) -> str:
    return survey_text(output, PLANNED, survey, survey.notes, everything=everything)


TEXT = """\
hf:acme/support-8b@5206a32e
  LlamaForCausalLM, 525 M parameters, 14.99 GiB of weights, bfloat16, context 128k

   GPU       CONTEXT  KV TOKENS  AT ONCE  TOKENS/S   €/H  €/MTOK
!  l40s         128k    451,840      3.4     1,234     -       -
→  h100         128k    451,840      3.4     1,234  2.79    0.63
   b200 × 8     128k    451,840      3.4     1,234  2.79    0.63

memory of h100: 79.19 GiB
  ██████████████▞▓▒░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░······
  █ weights         14.99   ▞ outside torch    0.26   ▓ activation       1.44
  ▒ CUDA graphs      0.90   ░ KV cache        55.26   · left free        6.34
  KV cache 55.26 GiB ± 0.30: 451,840 tokens in 28,240 blocks

speed  1,234 tokens/s (±34%) with 32 requests of 8k tokens, 39 for each
       first token after 0.33 s; prompts are read at 25,000 tokens/s
cost   €2.79 an hour, €2,037 a month, €484.30 with scale-to-zero, €0.63 per million tokens
       cheaper than by the token from 3,395 million tokens a month on
       a provider; FI; seen on 2026-09-01

does not fit
  t4   needs 17.59 GiB, 13.10 GiB usable
  a10  2.80 GiB are left, one request of 131072 tokens needs 16.00 GiB
  2 more: --all

note: a note"""


def test_a_survey_in_a_pipe() -> None:
    assert shown(screen(terminal=False)) == TEXT


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_survey_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = shown(screen()).splitlines()
    assert [line for line in lines if len(line) > width] == []
    assert any(line.startswith("→") and "h100" in line for line in lines)


def test_everything_shows_every_refusal() -> None:
    text = shown(screen(), everything=True)
    assert ("t4 × 2" in text, "l40s × 2" in text, "--all" in text) == (True, True, False)


def test_a_card_that_fits_otherwise_is_not_told_as_one_that_does_not() -> None:
    assert "l40s × 2" not in shown(screen())


def test_refusals_for_one_reason_stand_together() -> None:
    rejected = (refused("t4"), *(refused(f"card{number}", text="it is not there") for number in range(9)))
    text = shown(screen(), replace(SURVEY, rejected=rejected))
    assert "  card0, card1 and 7 more  it is not there\n" in text
    assert "--all" not in text
    rejected = tuple(refused(f"card{number}", text=f"{number} is too little") for number in range(9))
    text = shown(screen(), replace(SURVEY, rejected=rejected))
    assert ("card5" in text, "card6" in text, "  3 more: --all" in text) == (True, False, True)


def test_many_fits_are_cut_but_never_the_chosen_one() -> None:
    many = tuple(made(f"card{number}") for number in range(30))
    text = shown(screen(), replace(SURVEY, fits=many, chosen=many[20]))
    assert ("→  card20" in text, "card25" in text, "20 more that fit: --all" in text) == (True, False, True)
    assert "card25" in shown(screen(), replace(SURVEY, fits=many, chosen=many[20]), everything=True)


def test_splits_and_precisions_show_where_they_say_something() -> None:
    fits = (made(), made(count=4, quantization="fp8", serving=Serving((0, 19, 0), tp=2, pp=2)))
    text = shown(screen(), replace(SURVEY, fits=fits, chosen=fits[0]))
    assert "tp 2, pp 2" in text
    assert "as is" in text
    assert "fp8" in text


def test_what_is_unknown_and_doubtful_is_said() -> None:
    planned = replace(
        PLANNED, facts=replace(PLANNED.facts, weights_bytes=None, tensors=(), architectures=(), unknown=("dtype",))
    )
    chosen = made(warnings=("it may not fit",))
    text = survey_text(screen(), planned, replace(SURVEY, fits=(chosen,), chosen=chosen), (), everything=False)
    assert "unknown architecture" in text
    assert "weights of unknown size" in text
    assert "unknown: dtype" in text
    assert "warning: it may not fit" in text


def test_where_nothing_fits_there_is_no_bar() -> None:
    text = shown(screen(), replace(SURVEY, fits=(), chosen=None))
    assert ("memory of" in text, "does not fit" in text) == (False, True)


def test_colour_is_never_needed() -> None:
    coloured = shown(screen(colour=True))
    assert "\033[" in coloured
    assert re.sub("\033\\[[0-9]+m", "", coloured) == shown(screen())


def test_a_terminal_without_the_glyphs_gets_letters() -> None:
    ascii_only = screen(encoding="ascii")
    text = drawable(ascii_only, shown(ascii_only))
    assert "WWWWWWW" in text
    assert "KKKKKKK" in text
    assert "W weights" in text
    assert text.isascii()
    assert "*  h100" in text
    assert "E2.79" in text


@pytest.mark.parametrize("cells", [1, 6, 7, 20, 76])
def test_a_bar_has_its_length_and_loses_no_part(cells: int) -> None:
    parts = pieces(made())
    drawn = bar(parts, cells)
    assert len(drawn) == max(cells, 6)
    assert set(drawn) == {piece.glyph for piece in parts}
    assert drawn == "".join(sorted(drawn, key=[piece.glyph for piece in parts].index))


def test_a_bar_is_true_to_scale() -> None:
    parts = (Piece("a", "a", "A", 50), Piece("b", "b", "B", 25), Piece("c", "c", "C", 0), Piece("d", "d", "D", 25))
    assert bar(parts, 8) == "AAAABBDD"
    assert bar((Piece("a", "a", "A", 0),), 8) == ""


def test_the_pieces_add_up_to_the_card_and_the_legend_names_them() -> None:
    parts = pieces(made())
    assert sum(piece.size for piece in parts) == made().card.cuda_total
    assert len({piece.glyph for piece in parts}) == len(parts) == len(PARTS) + 1
    for width, rows in ((80, 2), (50, 3), (20, 6)):
        assert len(legend(parts, width).splitlines()) == rows
    over = made(terms=(term("weights", 100),))
    assert [piece.size for piece in pieces(over)][-1] == 0
    assert "left free" not in legend(pieces(over), 80)


def test_a_document_has_every_key_of_the_contract() -> None:
    document = fit_document(made())
    assert document["memory"] == pytest.approx(
        {"cuda_total_gib": 79.19, "weights_gib": 14.99, "non_torch_gib": 0.26, "activation_gib": 1.44,
         "cuda_graph_gib": 0.9, "kv_cache_gib": 55.2648}, abs=1e-8,
    )  # fmt: skip
    simple = ("gpu", "count", "tp", "pp", "quantization", "fits", "reasons", "kv_cache_tokens", "kv_blocks")
    assert [document[key] for key in simple] == ["h100", 1, 1, 1, None, True, [], 451840, 28240]
    assert document["max_concurrency"] == 3.447265625
    assert document["band_gib"] == pytest.approx(0.3, abs=1e-8)
    assert (document["price_per_hour"], document["currency"], document["tokens_per_second"]) == (2.79, "EUR", 1234.5)
    assert document["price_per_million_tokens"] == 0.6278


def test_a_refused_one_has_the_same_keys() -> None:
    full, bare = fit_document(made()), fit_document(refused("t4"))
    assert list(full) == list(bare)
    assert list(full["memory"]) == list(bare["memory"])  # type: ignore[call-overload]
    assert (bare["fits"], bare["reasons"], bare["reason_refs"]) == (
        False, ["needs 17.59 GiB, 13.10 GiB usable"], ["no-room"],
    )  # fmt: skip
    assert bare["memory"]["weights_gib"] is None  # type: ignore[index]
    assert (bare["kv_cache_tokens"], bare["price_per_hour"], bare["tokens_per_second"]) == (None, None, None)


def test_money_is_written_as_it_is() -> None:
    third = made(cost=Cost(Decimal("2.79") * 3, "EUR", Decimal(1) / Decimal(3)), count=3)
    text = json.dumps(fit_document(third))
    assert '"price_per_hour": 8.37,' in text
    assert '"price_per_million_tokens": 0.333333,' in text
    priced = fit_document(made(cost=None, speed=None, count=2))
    assert (priced["price_per_hour"], priced["currency"]) == (5.58, "EUR")


def test_a_survey_is_one_document() -> None:
    document = json.loads(json.dumps(survey_document(PLANNED, SURVEY, SURVEY.notes)))
    assert [item["gpu"] for item in document["fits"]] == ["l40s", "h100", "b200"]
    assert [item["gpu"] for item in document["rejected"]] == ["t4", "t4", "l40s", "a10"]
    assert document["chosen"] == document["fits"][1]
    assert (document["nearest"], document["notes"]) == (None, ["a note"])
    assert document["model"] == {
        "ref": "hf:acme/support-8b@5206a32e" + "0" * 32, "revision": "5206a32e" + "0" * 32,
        "architecture": "LlamaForCausalLM", "known": True, "parameters": 128256 * 4096,
        "weights_gib": pytest.approx(14.99, abs=1e-6), "dtype": "bfloat16", "quantization": None,
        "max_model_len": 131072, "tensors_from": "headers", "unknown": [], "adapter": None,
    }  # fmt: skip
