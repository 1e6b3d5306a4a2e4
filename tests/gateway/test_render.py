"""The rendered files as values: what depends on what, and what may never appear."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.errors import Bug, UsageError
from lyc.gateway.render import Layout, render
from lyc.gateway.xds import version
from lyc.records.gateway import Endpoint, GatewayConfig, KeyEntry, Route
from lyc.records.secret import Secret

LAYOUT = Layout(Path("/g/config"), Path("/r/envoy.sock"), Path("/g/log/access.jsonl"))
ALPHA = Route("alpha", Secret("engine-a"), (Endpoint("alpha-1-a", "/s/a"), Endpoint("alpha-1-b", "/s/b")))
BETA = Route("beta", Secret("engine-b"))
KEYS = (KeyEntry("a" * 64, "k1", "alpha"), KeyEntry("b" * 64, "k2", "beta"))
CONFIG = GatewayConfig("127.0.0.1", 8484, (ALPHA, BETA), KEYS)


def changed(before: GatewayConfig, after: GatewayConfig) -> set[str]:
    old, new = render(before, LAYOUT), render(after, LAYOUT)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def test_the_files_and_their_form() -> None:
    files = render(CONFIG, LAYOUT)
    assert set(files) == {
        "bootstrap.json", "lds.json", "rds.json", "cds.json", "eds-alpha.json", "eds-beta.json", "ecds-auth.json",
        "ecds-usage.json",
    }  # fmt: skip
    for name, text in files.items():
        document = json.loads(text)
        assert text.endswith("\n")
        if name != "bootstrap.json":
            assert document["version_info"] == version(text)
            assert len(version(text)) == 16


def test_same_value_same_bytes_whatever_the_order() -> None:
    shuffled = GatewayConfig(
        "127.0.0.1", 8484, (BETA, dataclasses.replace(ALPHA, endpoints=ALPHA.endpoints[::-1])), KEYS[::-1]
    )
    assert render(CONFIG, LAYOUT) == render(shuffled, LAYOUT)


def test_each_change_touches_its_files_alone() -> None:
    """A changed listener ends streams: only host and port may change it."""
    replace = dataclasses.replace
    draining = replace(ALPHA, endpoints=(replace(ALPHA.endpoints[0], draining=True), ALPHA.endpoints[1]))
    assert changed(CONFIG, replace(CONFIG, routes=(draining, BETA))) == {"eds-alpha.json"}
    assert changed(CONFIG, replace(CONFIG, routes=(replace(ALPHA, endpoints=()), BETA))) == {"eds-alpha.json"}
    assert changed(CONFIG, replace(CONFIG, keys=KEYS[:1])) == {"ecds-auth.json"}
    assert changed(CONFIG, replace(CONFIG, routes=(ALPHA,))) == {"rds.json", "cds.json", "eds-beta.json"}
    rekeyed = replace(BETA, engine_key=Secret("other"))
    assert changed(CONFIG, replace(CONFIG, routes=(ALPHA, rekeyed))) == {"rds.json"}
    assert changed(CONFIG, replace(CONFIG, port=1)) == {"lds.json"}
    assert changed(CONFIG, replace(CONFIG, host="::1")) == {"lds.json"}


def held(route: Route, activator: str | None = "/r/activator.sock") -> Route:
    return dataclasses.replace(route, activator=activator)


def test_an_activator_stands_behind_the_replicas_and_changes_no_listener() -> None:
    replace = dataclasses.replace
    with_one = replace(CONFIG, routes=(held(ALPHA), held(BETA)))
    assert changed(CONFIG, with_one) == {"rds.json", "cds.json"}
    empty = replace(held(ALPHA), endpoints=())
    assert changed(with_one, replace(with_one, routes=(empty, held(BETA)))) == {"eds-alpha.json"}
    found = {one["name"]: one for one in json.loads(render(with_one, LAYOUT)["cds.json"])["resources"]}
    (activator,) = (name for name in found if name.startswith("activator-"))
    assert set(found) == {"deployment-alpha", "deployment-beta", "front-alpha", "front-beta", activator}
    for name in ("alpha", "beta"):
        assert found[f"front-{name}"]["cluster_type"]["typed_config"]["clusters"] == [f"deployment-{name}", activator]
    assert "health_checks" not in found[activator]
    assert "outlier_detection" not in found[activator]
    mixed = render(replace(CONFIG, routes=(held(ALPHA), held(BETA, "/r/other.sock"))), LAYOUT)["cds.json"]
    assert mixed.count('"name":"activator-') == 2


def test_callers_that_will_not_wait_are_tried_less_often() -> None:
    text = render(dataclasses.replace(CONFIG, routes=(held(ALPHA),)), LAYOUT)["rds.json"]
    _, hasty, patient = json.loads(text)["resources"][0]["virtual_hosts"][0]["routes"]
    assert hasty["match"]["headers"] == [{"name": "x-lyc-wake-timeout", "string_match": {"exact": "0"}}]
    assert hasty["route"]["retry_policy"]["num_retries"] < patient["route"]["retry_policy"]["num_retries"]
    assert "headers" not in patient["match"]
    for route in (hasty, patient):
        del route["match"], route["route"]["retry_policy"]
    assert hasty == patient


def test_engine_keys_stand_in_the_routes_alone() -> None:
    for name, text in render(CONFIG, LAYOUT).items():
        assert ("engine-a" in text) == (name == "rds.json")


def test_percent_in_an_engine_key_is_no_command() -> None:
    route = dataclasses.replace(ALPHA, engine_key=Secret("50%REQ(x)%"))
    assert "50%%REQ(x)%%" in render(dataclasses.replace(CONFIG, routes=(route,)), LAYOUT)["rds.json"]


@pytest.mark.parametrize("host", ["example.com", "", "127.0.0.1:80", "0.0.0.0/0", "127.0.0"])
def test_host_must_be_an_address(host: str) -> None:
    with pytest.raises(UsageError) as raised:
        render(dataclasses.replace(CONFIG, host=host), LAYOUT)
    assert raised.value.ref == "gateway-host-invalid"


def test_localhost_and_ipv6_are_addresses() -> None:
    assert '"127.0.0.1"' in render(dataclasses.replace(CONFIG, host="localhost"), LAYOUT)["lds.json"]
    assert '"::1"' in render(dataclasses.replace(CONFIG, host="::1"), LAYOUT)["lds.json"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "]==]", "a%2f", "ä", "a\n", "-a", "a" * 129, "@@KEYS@@"])
def test_names_that_could_break_out_are_refused(name: str) -> None:
    for config in (
        dataclasses.replace(CONFIG, routes=(dataclasses.replace(ALPHA, deployment=name),)),
        dataclasses.replace(CONFIG, keys=(KeyEntry("a" * 64, name, "alpha"),)),
        dataclasses.replace(CONFIG, keys=(KeyEntry("a" * 64, "k", name),)),
        dataclasses.replace(CONFIG, routes=(dataclasses.replace(ALPHA, endpoints=(Endpoint(name, "/s"),)),)),
    ):
        with pytest.raises(Bug):
            render(config, LAYOUT)


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 63 + "\n"])
def test_hashes_are_hashes(digest: str) -> None:
    with pytest.raises(Bug):
        render(dataclasses.replace(CONFIG, keys=(KeyEntry(digest, "k", "alpha"),)), LAYOUT)


WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
ENTRY = st.builds(KeyEntry, st.binary(min_size=32, max_size=32).map(bytes.hex), WORD, WORD)


@given(st.lists(ENTRY, max_size=50))
def test_key_table_is_sorted_records_of_one_width(entries: list[KeyEntry]) -> None:
    """The halving search in auth.lua rests on this."""
    text = render(dataclasses.replace(CONFIG, keys=tuple(entries)), LAYOUT)["ecds-auth.json"]
    program = json.loads(text)["resources"][0]["typed_config"]["default_source_code"]["inline_string"]
    table = program.partition("TABLE = [==[")[2].partition("]==]")[0]
    id_width, name_width = (
        int(word) for word in program.partition("MAX_BODY = ")[2].partition("\n")[0].split(", ")[:2]
    )
    width = 64 + id_width + name_width
    records = [table[at : at + width] for at in range(0, len(table), width)]
    assert records == sorted(records, key=lambda record: record[:64])
    assert sorted((r[:64], r[64 : 64 + id_width].strip(), r[64 + id_width :].strip()) for r in records) == sorted(
        (entry.sha256, entry.id, entry.deployment) for entry in entries
    )
