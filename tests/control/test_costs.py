"""`lyc cost` through a real controller: rentals from its store, tokens from the gateway's log beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lyc.records.rental import RentalState
from lyc.spec.settings import Settings, resolve
from lyc.store import Store
from lyc.testing.clouds.lyceum import KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.server import serve
from tests.renting.ledger_book import rental

LYC = str(Path(sys.executable).with_name("lyc"))


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    made = kept | {"HOME": str(tmp_path), "LYC_HOME": str(tmp_path / "home"), "LYC_GATEWAY_PORT": "0"}
    yield made
    subprocess.run([LYC, "controller", "stop"], env=made, capture_output=True, timeout=60, check=False)


def lyc(env: dict[str, str], *words: str) -> tuple[int, str, str]:
    done = subprocess.run([LYC, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def served(settings: Settings, *entries: dict[str, Any]) -> None:
    log = settings.home / "gateway" / "log" / "access.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_what_was_rented_and_what_it_served(env: dict[str, str]) -> None:
    settings = resolve(env)
    store = Store(settings.database)
    now = datetime.now(UTC).timestamp()
    begun = now - 7200
    gone = rental(
        price="3.60", state=RentalState.GONE, billed_from=begun, billed_until=begun + 1000, per_million=Decimal("0.25")
    )
    store.add_rental(gone)
    store.add_rental(
        replace(gone, run_id="aaaaaaaa-00000002", deployment="other", billed_from=begun - 40 * 86400,
                billed_until=begun - 40 * 86400 + 1000)
    )  # fmt: skip
    store.close()
    entry = {
        "ts": datetime.fromtimestamp(begun + 10, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "deployment": "support-8b", "replica": "support-8b-1-a", "method": "POST", "status": 200, "ms": 250_000,
        "prompt_tokens": 1_000_000, "completion_tokens": 2_000_000,
    }  # fmt: skip
    served(settings, entry, entry | {"deployment": "local-one"})

    code, out, err = lyc(env, "cost", "--json")
    assert code == 0, err
    found = json.loads(out)
    (line,) = found["lines"]
    assert (line["key"], line["amounts"], line["rentals"]) == ("support-8b", {"EUR": "1.000000"}, 1)
    assert line["served"] == {"requests": 1, "prompt_tokens": 1_000_000, "completion_tokens": 2_000_000, "uncounted": 0}
    assert (Decimal(line["per_million"]), Decimal(line["foretold"])) == (Decimal("0.5"), Decimal("0.25"))
    assert line["idle"] == pytest.approx(0.75)
    assert found["per_hour"] == {}

    everything = json.loads(lyc(env, "cost", "--since", "all", "--by", "day", "--json")[1])
    days = everything["lines"]
    assert len(days) >= 41
    assert sum(Decimal(day["cost"]["amount"]) for day in days) == Decimal(everything["total"]["cost"]["amount"]) == 2
    alone = json.loads(lyc(env, "cost", "other", "--since", "all", "--json")[1])
    assert [line["key"] for line in alone["lines"]] == ["other"]
    assert lyc(env, "cost", "other")[1] == ""
    code, _, err = lyc(env, "cost", "nobody")
    assert (code, "no-such-deployment" in err) == (1, True)


def test_our_figure_beside_that_of_the_provider(env: dict[str, str]) -> None:
    """Lyceum tells what it bills; of a provider without an account nothing is known, and that is said."""
    cloud = lyceum_cloud()
    machine = cloud.launch("lyc-aaaaaaaa-00000001", "on-demand.h100.1x")
    with serve(lyceum_app(cloud)) as base:
        env["LYC_LYCEUM_ENDPOINT"] = base
        login = subprocess.run(
            [LYC, "providers", "login", "lyceum"], env=env, input=KEY, capture_output=True, text=True, check=False
        )
        assert login.returncode == 0, login.stderr
        store = Store(resolve(env).database)
        hour = rental("aaaaaaaa-00000001", price="2.79", currency="USD", machine=machine.id)
        hour = replace(hour, provider="lyceum", billed_from=machine.created_at - 3600, intended_at=machine.created_at)
        store.add_rental(replace(hour, state=RentalState.GONE, billed_until=machine.created_at))
        store.add_rental(
            replace(
                hour,
                run_id="aaaaaaaa-00000002",
                provider="verda",
                state=RentalState.GONE,
                billed_until=hour.intended_at,
            )
        )
        store.close()
        for _ in range(3):  # what is not up yet is not billed
            assert lyc(env, "providers", "check", "lyceum")[0] == 0
        code, out, err = lyc(env, "cost", "--billed", "--json")
        found = json.loads(out)
    assert code == 0, err
    assert [(one["machine"], one["provider"], one["currency"]) for one in found["machines"]] == [
        (machine.id, "lyceum", "USD")
    ]
    assert found["problems"]["verda"]["ref"] == "no-provider-credential"
