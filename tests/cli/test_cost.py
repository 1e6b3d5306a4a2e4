"""`lyc cost` as its user meets it: the table, what stands below it, CSV, JSON, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
from copy import deepcopy
from typing import Any

import pytest

from lyc.cli.cost import parse_since
from lyc.errors import NotFound, UsageError
from tests.cli.conftest import Controller, Home

NOW = 1_795_000_000.0


def line(key: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key, "rentals": 2, "seconds": 45_000.0, "amounts": {"EUR": "34.880000"},
        "cost": {"amount": "34.880000", "currency": "EUR", "rates": [], "without": {}},
        "served": {"requests": 120, "prompt_tokens": 48_000_000, "completion_tokens": 9_500, "uncounted": 0},
        "per_million": "0.310000", "foretold": "0.052100", "idle": 0.42,
    } | changes  # fmt: skip


def document(*lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "by": "deployment", "since": 1.0, "until": NOW, "currency": "EUR", "lines": list(lines),
        "total": line("total"), "per_hour": {}, "served_since": None, "further": 0,
        "saved": {"seconds": 0.0, "amounts": {}},
    } | changes  # fmt: skip


def rows(out: str) -> list[list[str]]:
    return [re.split(r" {2,}", text) for text in out.splitlines()]


def test_the_table(home: Home, controller: Controller) -> None:
    bare = line("other", served=None, per_million=None, foretold=None, idle=None, seconds=90.0, amounts={})
    controller.answers["GET", "/v1/costs"] = (200, document(line("support-8b"), bare))
    code, out, err = home.run("cost", "--since", "7d")
    assert (code, err) == (0, "")
    assert rows(out) == [
        ["DEPLOYMENT", "MACHINES", "TIME", "COST", "TOKENS IN", "TOKENS OUT", "EUR/MTOK", "FORETOLD", "IDLE"],
        ["support-8b", "2", "12h30m", "34.88 EUR", "48.0M", "9500", "0.31", "0.0521", "42%"],
        ["other", "2", "1m30s", "0.00", "-", "-", "-", "-", "-"],
        ["total", "2", "12h30m", "34.88 EUR", "48.0M", "9500", "0.31", "0.0521", "42%"],
    ]
    query = controller.calls[-1]["query"]
    assert re.fullmatch(r"by=deployment&since=[\d.]+", query)


def test_a_single_line_is_its_own_sum(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/costs"] = (200, document(line("support-8b")))
    _, out, _ = home.run("cost", "support-8b", "--since", "all", "--by", "day")
    assert len(out.splitlines()) == 2
    assert controller.calls[-1]["query"] == "name=support-8b&by=day"


def test_currencies_are_not_added_up_without_saying_how(home: Home, controller: Controller) -> None:
    both = {"EUR": "10.000000", "USD": "12.500000"}
    cost = {"amount": "20.000000", "currency": "EUR", "rates": ["1.25 USD/EUR of 2026-11-20"], "without": {}}
    mixed = line("a", amounts=both, cost=cost)
    found = document(mixed, total=mixed | {"key": "total"}, per_hour={"EUR": "3.60", "USD": "4.50"})
    controller.answers["GET", "/v1/costs"] = (200, found)
    _, out, _ = home.run("cost")
    assert "10.00 EUR + 12.50 USD" in out
    assert "\n\ntogether 20.00 EUR, at 1.25 USD/EUR of 2026-11-20\nnow 3.60 EUR + 4.50 USD an hour\n" in out
    stranger = deepcopy(found)
    stranger["total"]["amounts"]["SEK"] = "5.000000"
    stranger["total"]["cost"]["without"] = {"SEK": "5.000000"}
    controller.answers["GET", "/v1/costs"] = (200, stranger)
    assert "2026-11-20, without 5.00 SEK\n" in home.run("cost")[1]


def test_what_the_figures_do_not_hold_is_said(home: Home, controller: Controller) -> None:
    total = line("total", served={"requests": 9, "prompt_tokens": 1, "completion_tokens": 1, "uncounted": 3})
    found = document(line("a"), total=total, served_since=1_794_960_000.0, further=1)
    controller.answers["GET", "/v1/costs"] = (200, found)
    _, out, err = home.run("cost")
    assert "known since 2026-11-18 00:00 UTC" in err or "known since 2026-11-18" in err
    assert "1 machines were made twice" in err
    assert "3 answers told no tokens" in err
    assert "known since" not in out
    assert home.run("cost", "--json")[2] == ""
    controller.answers["GET", "/v1/costs"] = (200, found | {"by": "host"})
    assert "not told apart by host" in home.run("cost", "--by", "host")[2]


def test_csv_is_for_spreadsheets(home: Home, controller: Controller) -> None:
    cost = {"amount": "20.000000", "currency": "EUR", "rates": ["x"], "without": {}}
    mixed = line('a,"b', amounts={"EUR": "10.000000", "USD": "12.500000"}, cost=cost)
    bare = line("c", served=None, per_million=None, foretold=None, idle=None, amounts={"EUR": "1.000000"})
    total = line("total", amounts={"EUR": "11.000000", "USD": "12.500000"})
    controller.answers["GET", "/v1/costs"] = (200, document(mixed, bare, total=total, served_since=5.0))
    code, out, _ = home.run("cost", "--csv")
    assert code == 0
    first, second = csv.DictReader(io.StringIO(out))
    assert first == {
        "deployment": 'a,"b', "machines": "2", "seconds": "45000", "EUR": "10.000000", "USD": "12.500000",
        "total_EUR": "20.000000", "requests": "120", "prompt_tokens": "48000000", "completion_tokens": "9500",
        "EUR_per_million": "0.310000", "foretold_per_million": "0.052100", "idle": "0.4200",
    }  # fmt: skip
    assert (second["USD"], second["requests"], second["idle"]) == ("0", "", "")


def test_json_is_the_document_with_the_name(home: Home, controller: Controller) -> None:
    found = document(line("a"))
    controller.answers["GET", "/v1/costs"] = (200, found)
    assert json.loads(home.run("cost", "a", "--json")[1]) == {"version": 1, "name": "a", **found}


def test_nothing_was_rented(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/costs"] = (200, document(total=line("total", amounts={}, served=None)))
    code, out, err = home.run("cost", "a", "--since", "2026-11-01")
    assert (code, out) == (0, "")
    assert "nothing was rented for a since 2026-11-01\n" in err
    assert "lyc cost --since all" in err


def test_where_nothing_was_ever_deployed_no_controller_is_started(home: Home) -> None:
    (home.path / "lyc.db").unlink()
    assert home.run("cost", "--since", "all")[:2] == (0, "")
    found = json.loads(home.run("cost", "--json")[1])
    assert (found["lines"], found["total"]["cost"]["amount"]) == ([], "0.000000")
    code, _, err = home.run("cost", "a")
    assert (code, "no-such-deployment" in err) == (1, True)
    assert not home.settings.controller_socket.exists()


def test_a_name_that_there_never_was(home: Home, controller: Controller) -> None:
    error = NotFound("no-such-deployment", "there is no deployment 'a'", hint="lyc ls").document()
    controller.answers["GET", "/v1/costs"] = (404, {"error": error})
    assert home.run("cost", "a") == (1, "", "error[no-such-deployment]: there is no deployment 'a'\n\nhint: lyc ls\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - 7 * 86400),
        ("90m", NOW - 5400),
        ("2026-11-01", 1_793_491_200.0),
        ("2026-11-01T08:00", 1_793_520_000.0),
        ("2026-11-01T08:00+01:00", 1_793_516_400.0),
        ("all", None),
        (" ALL ", None),
    ],
)
def test_since_as_it_is_written(text: str, expected: float | None) -> None:
    assert parse_since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-11-1", "-7d", "2030-01-01", "9e9"])
def test_what_is_no_time_to_begin_at(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_since(text, NOW)
    assert caught.value.ref == "invalid-since"
    assert "--since 7d" in caught.value.hint


@pytest.mark.parametrize("words", [("--json", "--csv"), ("--since", "soon"), ("--by", "week")])
def test_flags_that_are_wrong_exit_2(home: Home, controller: Controller, words: tuple[str, ...]) -> None:
    assert home.run("cost", *words)[0] == 2
    assert controller.calls == []


def test_what_was_saved_is_told(home: Home, controller: Controller) -> None:
    saved = {"seconds": 15840.0, "amounts": {"EUR": "12.400000"}}
    controller.answers["GET", "/v1/costs"] = (200, document(line("a"), saved=saved))
    _, out, _ = home.run("cost")
    assert out.splitlines()[-1] == "saved 12.40 EUR: 4h24m without a machine that nobody needed"
