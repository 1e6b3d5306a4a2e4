"""`lyc gpus` as a person and as a program see it: the real command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from lyc.planning.catalogue.cards import CARDS
from lyc.units import GIB
from tests.cli.conftest import Home

HEAVY = {"boto3", "fastapi", "httpx", "huggingface_hub", "pydantic", "rich", "sqlalchemy", "tomllib", "uvicorn"}


def listed(home: Home, *words: str) -> list[dict[str, object]]:
    code, out, err = home.run("gpus", "--json", *words)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["version"] == 1
    found: list[dict[str, object]] = document["gpus"]
    return found


def test_the_table_has_every_card(home: Home) -> None:
    code, out, err = home.run("gpus")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split()[:4] == ["NAME", "GIB", "GB", "TB/S"]
    assert [row.split()[0] for row in rows] == list(CARDS)
    h100 = next(row for row in rows if row.startswith("h100 "))
    assert re.search(r"79\.2 +80 +3\.35 +989 +1979 +- +9\.0 ", h100)
    assert re.search(r"\d{4}-\d\d-\d\d", h100)
    assert "nvfp4~" in h100
    assert "lyc gpus NAME" in err


def test_the_document_has_every_figure(home: Home) -> None:
    found = {str(row["name"]): row for row in listed(home)}
    assert list(found) == list(CARDS)
    row = found["h100"]
    assert row["usable_gib"] == round(CARDS["h100"].cuda_total / GIB, 2)
    assert row["tflops"] == {"bf16": 989.0, "fp16": 989.0, "int8": 1979.0, "fp8": 1979.0, "fp4": 0.0}
    assert (row["compute_capability"], row["bandwidth_gb_per_second"]) == ("9.0", 3350)
    assert row["sources"]
    assert found["mi300x"]["compute_capability"] is None
    assert found["gb300"]["prices"] == []
    runs = row["runs"]
    assert isinstance(runs, dict)
    assert (runs["fp8"], runs["nvfp4"]) == ("native", "weights")


def test_rates_of_currencies_show_their_day(home: Home) -> None:
    document = json.loads(home.run("gpus", "--json")[1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", document["rates"]["dated"])
    assert Decimal(document["rates"]["per_euro"]["USD"]) > 0


@pytest.mark.parametrize("name", ["h100", "H100 SXM", "NVIDIA H100 80GB HBM3"])
def test_one_card_with_all_sources(home: Home, name: str) -> None:
    code, out, err = home.run("gpus", name)
    assert (code, err) == (0, "")
    assert out.startswith("h100  NVIDIA H100 80GB HBM3\n")
    assert "79.19 GiB for CUDA (seen), sold as 80 GB" in out
    for source in CARDS["h100"].sources:
        assert source.partition(": ")[2] in out
    assert "undated" in out
    assert "place unknown" in out


def test_one_card_as_a_document(home: Home) -> None:
    document = json.loads(home.run("gpus", "l40s", "--json")[1])
    assert document["gpu"]["name"] == "l40s"
    assert {row["currency"] for row in document["gpu"]["prices"]} <= {"EUR", "USD"}


def test_a_price_of_ones_own(home: Home) -> None:
    (row,) = (row for row in listed(home, "--price", "gb300=9.5EUR/h") if row["name"] == "gb300")
    assert row["prices"] == [
        {"amount": "9.5", "currency": "EUR", "dated": None, "source": "--price", "country": None, "region": None,
         "page": None}
    ]  # fmt: skip
    assert "€9.50  yours" in home.run("gpus", "--price", "gb300=9.5EUR/h")[1]


def test_prices_of_a_file_below_those_of_flags(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('h100 = "3EUR/h"\nl4 = "0.5EUR/h"\n', encoding="utf-8")
    found = {str(row["name"]): row["prices"] for row in listed(home, "--prices", str(file), "--price", "l4=0.4EUR/h")}
    amounts = {name: [offer["amount"] for offer in found[name]] for name in ("h100", "l4")}  # type: ignore[attr-defined]
    assert amounts == {"h100": ["3"], "l4": ["0.4"]}


def test_residency_hides_what_is_not_known_to_be_there(home: Home) -> None:
    shown = listed(home, "--residency", "eu")
    assert 0 < len(shown) < len(CARDS)
    countries = {offer["country"] for row in shown for offer in row["prices"]}  # type: ignore[attr-defined]
    assert countries <= {"EU", "FI", "IT"}
    code, out, err = home.run("gpus", "--residency", "eu", "--price", "h100=1EUR/h")
    assert code == 0
    assert "\nh100 " not in out
    assert "more have no price" in err
    assert "\nh100 " in home.run("gpus", "--residency", "eu", "--price", "h100=1EUR/h@FI")[1]


def test_residency_where_nobody_is(home: Home) -> None:
    code, out, err = home.run("gpus", "--residency", "mt")
    assert (code, out) == (0, "")
    assert f"{len(CARDS)} more have no price" in err


@pytest.mark.parametrize(
    ("words", "ref", "text"),
    [
        (["gpus", "h10"], "unknown-gpu", "h100"),
        (["gpus", "--price", "h100=2.79"], "invalid-price", "currency"),
        (["gpus", "--price", "h10=2EUR/h"], "unknown-gpu", "h100"),
        (["gpus", "--prices", "/nowhere/prices.toml"], "unreadable-price-file", "No such file"),
        (["gpus", "--prices", "/"], "unreadable-price-file", "directory"),
        (["gpus", "--residency", "europe"], "unknown-residency", "--residency eu"),
        (["gpus", "h100", "l4"], "usage", "l4"),
    ],
)
def test_what_is_wrong_is_one_error_and_exit_2(home: Home, words: list[str], ref: str, text: str) -> None:
    code, out, err = home.run(*words)
    assert (code, out) == (2, "")
    assert f"error[{ref}]" in err
    assert text in err
    code, out, err = home.run(*words, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["ref"] == ref


def test_it_leaves_nothing_behind(home: Home) -> None:
    before = sorted(home.path.iterdir())
    home.run("gpus")
    assert sorted(home.path.iterdir()) == before


@pytest.mark.parametrize("words", [["gpus"], ["gpus", "h100"], ["gpus", "--price", "h100=2EUR/h"]], ids=" ".join)
def test_it_imports_nothing_heavy(home: Home, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from lyc.cli.main import main; main()", *words],
        env=home.env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    names = {name.partition(".")[0] for name in re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)}
    assert "lyc" in names
    assert names & HEAVY == set()
