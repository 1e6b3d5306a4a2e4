#!/usr/bin/env python3
"""What lyc itself takes of a person's time when it rents: the decision, and the sweep of what is rented.

    .venv/bin/python tests/bench/rent.py [--rounds 5] [--latency 0.2] [--machines 5000]

Decision: offers of six providers, each a fake over HTTP that answers every request after `--latency` seconds, asked at
once, planned for a model and ranked; beside the slowest of the six asked alone by the same client, in alternation, and
beside all six one after the other. AWS is a moto server behind the fake's layer.

Sweep: a visit that finds so many machines, all of them rented and in use, beside the provider's list alone.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lyc.control.deps import Deps
from lyc.control.market import Market
from lyc.control.rentals import Rentals
from lyc.engines.versions import pinned
from lyc.planning import offers as planning
from lyc.planning.catalogue import prices
from lyc.providers.accounts import ProviderAccounts, endpoint_variable
from lyc.records.model import ModelFacts
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.records.rental import Offer, Rental, RentalState
from lyc.records.wish import Wish
from lyc.renting.choice import Choice, rank
from lyc.renting.rules import Rules
from lyc.store import Store
from lyc.testing.clouds import aws, lambda_cloud, moto, runpod
from lyc.testing.clouds.aws_cloud import KEY_ID, REGIONS, AwsCloud
from lyc.testing.clouds.aws_cloud import SECRET_KEY as AWS_KEY
from lyc.testing.clouds.core import Cloud
from lyc.testing.clouds.lyceum import KEY, lyceum_app, lyceum_cloud
from lyc.testing.clouds.scaleway import SECRET_KEY, Scaleway, ScalewayCloud
from lyc.testing.clouds.server import App, serve
from lyc.testing.clouds.verda import CLIENT_ID, CLIENT_SECRET, Verda
from tests.planning.measured.replay import MODELS, facts_of
from tests.planning.measured.replay import folder as folder_of

MODEL = next(iter(MODELS))
GOOD = "a-key-of-a-bench"
VERDA = {"1H100.80S.30V@FIN-01": 4, "1A100.22V@FIN-01": 2}
SCALEWAY = {"L4-1-24G@fr-par-2": 4, "H100-1-80G@fr-par-2": 2}


@contextmanager
def clouds(latency: float) -> Iterator[dict[str, str]]:
    """Environment with credentials and addresses of six providers that answer after so many seconds."""
    with ExitStack() as stack:
        server = stack.enter_context(moto.start())
        apps: dict[str, tuple[App, str, dict[str, str]]] = {
            "lyceum": (lyceum_app(lyceum_cloud()), "", {"LYCEUM_API_KEY": KEY}),
            "verda": (
                Verda(Cloud(VERDA)).app(),
                "/v1",
                {"VERDA_CLIENT_ID": CLIENT_ID, "VERDA_CLIENT_SECRET": CLIENT_SECRET},
            ),
            "scaleway": (
                Scaleway(ScalewayCloud(SCALEWAY)).app(),
                "",
                {"SCW_SECRET_KEY": SECRET_KEY, "SCW_DEFAULT_PROJECT_ID": "00000000-0000-4000-8000-000000000000"},
            ),
            "runpod": (runpod.app(Cloud(runpod.CAPACITY), GOOD), "", {"RUNPOD_API_KEY": GOOD}),
            "lambda": (lambda_cloud.app(Cloud(lambda_cloud.CAPACITY), GOOD), "", {"LAMBDA_API_KEY": GOOD}),
            "aws": (
                aws.app(AwsCloud(server))[0],
                "",
                {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": AWS_KEY, "LYC_AWS_REGIONS": ",".join(REGIONS)},
            ),
        }
        environ: dict[str, str] = {}
        for name, (app, path, credentials) in apps.items():
            app.latency = latency
            environ |= credentials | {endpoint_variable(name): stack.enter_context(serve(app)) + path}
        yield environ


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decided(accounts: ProviderAccounts, facts: ModelFacts) -> Choice:
    """From nothing known to a ranked list, as `lyc deploy` does it."""
    kinds = {name: kind.capabilities for name, kind in accounts.kinds().items()}
    listing = Market(accounts, time.time).offers()
    assert len(listing.asked) == 6, listing.asked
    assert not listing.problems, listing.problems
    wish = Wish(pinned(on_cpu=False).release)
    return rank(listing.offers, kinds, Rules(), prices.bundled().rates, fits=partial(planning.fits, facts, wish))


def decision(rounds: int, latency: float) -> dict[str, object]:
    """Seconds, medians. alone: of each provider's offers."""
    with clouds(latency) as environ, tempfile.TemporaryDirectory() as folder:
        accounts = ProviderAccounts(Path(folder), environ, time.time)
        names = sorted(accounts.sources())
        facts = facts_of(folder_of(MODEL, Path(folder) / "model"))
        for name in names:
            accounts.open(name).offers()  # what a controller does once: imports, connections, tokens
        alone: dict[str, list[float]] = {name: [] for name in names}
        together: list[float] = []
        for _ in range(rounds):
            for name in names:
                alone[name].append(timed(lambda name=name: accounts.open(name).offers()))
            together.append(timed(lambda: decided(accounts, facts)))
        medians = {name: statistics.median(spans) for name, spans in alone.items()}
        slowest = max(medians.values())
        one = statistics.median(together)
        return {
            "alone": {name: round(span, 3) for name, span in medians.items()},
            "decision": round(one, 3),
            "over the slowest": round(one - slowest, 3),
            "one after the other": round(sum(medians.values()), 3),
            "candidates": len(decided(accounts, facts).candidates),
        }


def sweep(rounds: int, count: int) -> dict[str, object]:
    """Seconds, medians, at Lyceum's fake without latency: a whole visit, with the store; and the list alone."""
    owner = secrets.token_hex(4)
    cloud = lyceum_cloud()
    with serve(lyceum_app(cloud)) as endpoint, tempfile.TemporaryDirectory() as folder:
        environ = {"LYCEUM_API_KEY": KEY, endpoint_variable("lyceum"): endpoint}
        accounts = ProviderAccounts(Path(folder), environ, time.time)
        provider, now = accounts.open("lyceum"), time.time()
        offer = Offer("lyceum", "on-demand.h100.1x", "h100", "h100", 1, Decimal("2.79"), "USD")
        store = Store(Path(folder) / "lyc.db")
        begun = Operation("op", OperationKind.DEPLOY, "bench", {}, OperationState.RUNNING, now)
        store.put_operation(begun)  # so that the machines are wanted
        for one in cloud.put_many(owner, count):
            assert one.run_id
            assert one.address
            known = Rental(one.run_id, "lyceum", "bench", offer, RentalState.RENTED, now, now, machine=one.id,
                           address=one.address.host, port=one.address.port)  # fmt: skip
            store.add_rental(known)
        nothing = cast("Any", None)
        rentals = Rentals(Deps(
            settings=nothing, store=store, supervisor=nothing, gateway=nothing, sites=nothing, hosts=nothing,
            upkeep=nothing, accounts=accounts, owner=owner, open_source=nothing, clock=time.time,
        ))  # fmt: skip
        rentals.visit("lyceum")  # addresses that were not told yet are stored
        listed: list[float] = []
        visited: list[float] = []
        for _ in range(rounds):
            listed.append(timed(lambda: provider.list_owned(owner)))
            began = time.perf_counter()
            swept = rentals.visit("lyceum")
            visited.append(time.perf_counter() - began)
            assert (len(swept.machines), swept.ended, swept.problem) == (count, (), None)
        visit, alone = statistics.median(visited), statistics.median(listed)
        return {"machines": count, "visit": round(visit, 3), "list alone": round(alone, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--machines", type=int, default=5000)
    asked = parser.parse_args()
    found = {"decision": decision(asked.rounds, asked.latency), "sweep": sweep(asked.rounds, asked.machines)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
