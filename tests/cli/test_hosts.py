"""What a person types about hosts, and reads: deploys onto them, and the verbs that look after them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lyc.errors import Failed, Locked, NotFound, Unreachable
from tests.cli.conftest import Controller, Endpoint, Home, deployment, prepared

FINGERPRINT = "SHA256:" + "A" * 43
FACTS: dict[str, Any] = {
    "hostname": "gpu1", "os": "Debian GNU/Linux 12", "os_id": "debian", "system": "Linux", "kernel": "6.1",
    "machine": "x86_64", "user": "root", "home": "/root", "home_writable": True, "boot_id": "b", "cpus": 8,
    "cpu_model": "", "cpu_flags": ["avx2"], "memory_total": 64 << 30, "memory_available": 60 << 30,
    "disks": [{"path": "/root", "total": 8 << 30, "free": 4 << 30},
              {"path": "/var/lib", "total": 500 << 30, "free": 400 << 30}],
    "libc": "glibc 2.36", "accelerators": [], "processes": [], "mig": False, "driver": None, "cuda": None,
    "gpu_problem": None, "gpu_status": None, "gpus_seen": 0, "systemd": 252, "container": None, "sudo": "free",
    "runtimes": {}, "runtimes_denied": {}, "toolkit": None, "clock_skew": 0.0, "reaches": {}, "missing": [],
    "looked_at": 1.0, "round_trip": 0.1,
}  # fmt: skip
USE = {
    "root": "/var/lib/lyc", "mode": "system", "engines": {"vllm-0.32.0": 9 << 30}, "snapshots": 2, "weights": 31 << 30,
    "lock": {"owner": "x", "who": "ops@ci", "reason": "deploying b", "age": 750.0, "ours": False},
    "lease": {"seconds": 900, "action": "stop", "left": 890.0}, "processes": {"a-2-abc.1": "exited"}, "others": 1,
}  # fmt: skip


def host(name: str = "gpu1", **changes: Any) -> dict[str, Any]:
    replica = {"id": "a-2-abc", "deployment": "a", "release": 2, "state": "ready", "gpus": [0, 1]}
    return {
        "name": name, "address": "ssh://root@gpu1:22", "state": "ready", "fingerprints": [FINGERPRINT], "added_at": 1.0,
        "seen_at": 1.0, "facts": FACTS, "checks": [], "error": None, "lease_seconds": None, "prepared": True,
        "replicas": [replica],
    } | changes  # fmt: skip


@pytest.fixture
def hosts(controller: Controller) -> Controller:
    controller.answers |= {
        ("GET", "/v1/hosts"): (200, {"hosts": [host()]}),
        ("GET", "/v1/hosts/gpu1"): (200, host()),
        ("GET", "/v1/hosts/gpu1/use"): (200, USE),
    }
    return controller


def wished(controller: Controller) -> dict[str, Any]:
    return dict(controller.made("PUT", "/v1/deployments/a")[-1]["body"]["spec"])


def error_of(out: str) -> dict[str, Any]:
    return dict(json.loads(out)["error"])


@pytest.mark.parametrize("written", ["gpu1", "ssh://root@gpu1:22"])
def test_a_deploy_names_a_host_that_is_known(home: Home, hosts: Controller, endpoint: Endpoint, written: str) -> None:
    prepared(hosts, endpoint)
    line = ["deploy", "acme/a", "--host", written, "--gpus", "1,0", "--image", "vllm/vllm-openai:v0.32.0"]
    code, _, err = home.run(*line)
    assert code == 0, err
    spec = wished(hosts)
    assert (spec["host"], spec["gpus"], spec["runtime"], spec["image"]) == (
        "gpu1", [1, 0], "container", "vllm/vllm-openai:v0.32.0",
    )  # fmt: skip
    assert hosts.made("PUT", "/v1/hosts/gpu1") == []


def test_an_address_that_is_new_is_made_known_first(home: Home, hosts: Controller, endpoint: Endpoint) -> None:
    prepared(hosts, endpoint)
    hosts.answers["PUT", "/v1/hosts/gpu2"] = (200, host("gpu2") | {"new": True})
    code, _, err = home.run("deploy", "acme/a", "--host", "anna@gpu2.example.eu", "--accept-host-key", FINGERPRINT)
    assert code == 0, err
    assert "✓ ssh://anna@gpu2.example.eu is known as gpu2 now\n" in err
    (added,) = hosts.made("PUT", "/v1/hosts/gpu2")
    assert (added["body"]["address"], added["body"]["accept_host_key"]) == ("ssh://anna@gpu2.example.eu", FINGERPRINT)
    assert wished(hosts)["host"] == "gpu2"


def test_an_unknown_key_is_not_taken_where_nobody_can_be_asked(home: Home, hosts: Controller) -> None:
    unknown = Failed("host-key-unknown", "its key was never accepted", detail=(FINGERPRINT,), hint="lyc hosts add …")
    hosts.answers["PUT", "/v1/hosts/gpu2"] = (400, {"error": unknown.document()})
    code, out, _ = home.run("deploy", "acme/a", "--host", "anna@gpu2", "--json")
    assert (code, error_of(out)["ref"]) == (1, "host-key-unknown")
    assert hosts.made("PUT", "/v1/deployments/a") == []


def test_a_name_that_another_machine_has(home: Home, hosts: Controller) -> None:
    taken = Failed("host-name-taken", "gpu1 is another already", where="--name", hint="choose another --name")
    hosts.answers["PUT", "/v1/hosts/gpu1"] = (400, {"error": taken.document()})
    error = error_of(home.run("deploy", "acme/a", "--host", "root@gpu1.other.eu", "--json")[1])
    assert (error["where"], error["hint"]) == (
        "--host", "make it known by another name: lyc hosts add ssh://root@gpu1.other.eu --name NAME",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "ref", "says"),
    [
        (["--host", "gpu9"], 1, "no-such-host", "lyc hosts add gpu9"),
        (["--host", "box.example.eu"], 1, "no-such-host", "lyc hosts add box.example.eu"),
        (["--host", "ssh://"], 3, "invalid-address", "ssh://user@box:22"),
        (["--host", "gpu1", "--accept-host-key", "short"], 2, "invalid-fingerprint", "SHA256:"),
        (["--gpus", "0,x"], 3, "invalid-value", ""),
        (["--host", "gpu1", "--gpus", "1,1"], 3, "invalid-value", ""),
        (["--host", "gpu1", "--image", "vllm/vllm-openai"], 3, "invalid-image", ":TAG"),
        (["--runtime", "container"], 3, "container-needs-host", "--host"),
        (["--host", "gpu1", "--runtime", "podman"], 3, "invalid-value", ""),
    ],
)
def test_wishes_that_cannot_be(home: Home, hosts: Controller, line: list[str], code: int, ref: str, says: str) -> None:
    got, out, _ = home.run("deploy", "acme/a", *line, "--json")
    error = error_of(out)
    assert (got, error["ref"]) == (code, ref)
    assert says in error["hint"]
    assert error["where"].startswith("--")
    assert hosts.made("PUT", "/v1/deployments/a") == []


def test_ls_tells_how_many_replicas_each_has(home: Home, hosts: Controller) -> None:
    _, out, _ = home.run("hosts", "ls")
    head, row = (re.split(r" {2,}", line.strip()) for line in out.splitlines())
    assert (head[:3], row[:3]) == (["NAME", "STATE", "REPLICAS"], ["gpu1", "ready", "1"])
    assert row[head.index("DISK FREE")] == "400.0 GiB", "of the filesystem where lyc's folder goes"


def test_show_tells_what_lyc_does_there_now(home: Home, hosts: Controller) -> None:
    code, out, err = home.run("hosts", "show", "gpu1")
    assert (code, err) == (0, "")
    rows = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in out.splitlines()[1:] if line.startswith("  "))
    assert rows["lyc"] == "prepared, system mode, in /var/lib/lyc"
    assert rows["lease"] == "stop after 15m00s, 14m50s left"
    assert rows["lock"] == "held by ops@ci for 12m30s: deploying b"
    assert rows["engines"] == "vllm-0.32.0 (9.0 GiB)"
    assert rows["weights"] == "31.0 GiB of 2 models"
    assert rows["replica"] == "a-2-abc, ready, cards 0,1, its process there is exited"
    assert rows["others"].endswith(": 1")
    document = json.loads(home.run("hosts", "show", "gpu1", "--json")[1])
    assert (document["use"], document["use_error"], document["replicas"][0]["gpus"]) == (USE, None, [0, 1])


def test_show_says_what_a_rented_machine_costs(home: Home, hosts: Controller) -> None:
    rented = {"provider": "lyceum", "machine": "m1", "product": "h100", "count": 1, "region": None, "country": None,
              "per_hour": "2.79", "currency": "USD", "spot": False, "until": None}  # fmt: skip
    hosts.answers["GET", "/v1/hosts/gpu1"] = (200, host(rented=rented))
    assert "rented      h100 at lyceum, 2.79 USD an hour\n" in home.run("hosts", "show", "gpu1")[1]
    hosts.answers["GET", "/v1/hosts/gpu1"] = (200, host(rented=rented | {"until": 1.0}))
    assert "2.79 USD an hour, until 1970-01-0" in home.run("hosts", "show", "gpu1")[1]


def test_show_of_a_host_that_cannot_be_asked(home: Home, hosts: Controller) -> None:
    gone = Unreachable("host-unreachable", "gpu1 does not answer")
    hosts.answers["GET", "/v1/hosts/gpu1/use"] = (400, {"error": gone.document()})
    code, out, _ = home.run("hosts", "show", "gpu1")
    assert code == 0
    assert "prepared; what it does now cannot be told: gpu1 does not answer" in out
    assert json.loads(home.run("hosts", "show", "gpu1", "--json")[1])["use_error"]["ref"] == "host-unreachable"
    asked = len(hosts.made("GET", "/v1/hosts/gpu1/use"))
    for changes in ({"state": "unreachable"}, {"prepared": False}):
        hosts.answers["GET", "/v1/hosts/gpu1"] = (200, host(**changes))
        assert home.run("hosts", "show", "gpu1")[0] == 0
    assert len(hosts.made("GET", "/v1/hosts/gpu1/use")) == asked, "what will not answer is not waited for"


def test_prune(home: Home, hosts: Controller) -> None:
    removed = [
        {"kind": "weights", "name": "sha256:0a", "bytes": 3 << 30},
        {"kind": "engine", "name": "v", "bytes": 1 << 30},
    ]
    answer = {"name": "gpu1", "dry_run": False, "removed": removed, "bytes": 4 << 30}
    hosts.answers["POST", "/v1/hosts/gpu1/prune"] = (200, answer)
    code, out, err = home.run("hosts", "prune", "gpu1", "--free", "50GB")
    assert (code, err) == (0, "✓ 4.0 GiB removed from gpu1\n")
    assert [line.split() for line in out.splitlines()] == [
        ["KIND", "SIZE", "NAME"], ["weights", "3.0", "GiB", "sha256:0a"], ["engine", "1.0", "GiB", "v"],
    ]  # fmt: skip
    assert hosts.made("POST", "/v1/hosts/gpu1/prune")[0]["body"] == {"free": 50 * 10**9, "dry_run": False}
    hosts.answers["POST", "/v1/hosts/gpu1/prune"] = (200, answer | {"dry_run": True})
    err = home.run("hosts", "prune", "gpu1", "--dry-run")[2]
    assert err == "4.0 GiB would be removed from gpu1\nhint: lyc hosts prune gpu1\n"
    assert json.loads(home.run("hosts", "prune", "gpu1", "--dry-run", "--json")[1])["removed"] == removed
    hosts.answers["POST", "/v1/hosts/gpu1/prune"] = (200, answer | {"removed": [], "bytes": 0})
    assert home.run("hosts", "prune", "gpu1") == (0, "", "✓ gpu1 holds nothing that may go\n")
    code, out, _ = home.run("hosts", "prune", "gpu1", "--free", "much", "--json")
    assert (code, error_of(out)["ref"], error_of(out)["where"]) == (2, "invalid-size", "--free")


def test_unlock(home: Home, hosts: Controller) -> None:
    path = "/v1/hosts/gpu1/lock"
    refused = Locked("host-locked", "ops@ci holds gpu1", hint="lyc hosts unlock gpu1 --force")
    hosts.answers["DELETE", path] = (400, {"error": refused.document()})
    code, out, _ = home.run("hosts", "unlock", "gpu1", "--json")
    assert (code, error_of(out)["ref"], hosts.made("DELETE", path)[-1]["query"]) == (7, "host-locked", "")
    hosts.answers["DELETE", path] = (200, {"name": "gpu1", "unlocked": True, "lock": USE["lock"]})
    code, _, err = home.run("hosts", "unlock", "gpu1", "--force")
    assert (code, err) == (0, "✓ gpu1 is unlocked; ops@ci held it for 12m30s: deploying b\n")
    assert hosts.made("DELETE", path)[-1]["query"] == "force=true"
    hosts.answers["DELETE", path] = (200, {"name": "gpu1", "unlocked": False, "lock": None})
    assert home.run("hosts", "unlock", "gpu1")[2] == "✓ nobody holds gpu1\n"


def test_rm_with_and_without_purge(home: Home, hosts: Controller) -> None:
    purged = {"name": "gpu1", "removed": True, "purged": True}
    hosts.answers |= {
        ("DELETE", "/v1/hosts/gpu1"): (200, {"name": "gpu1", "removed": True}),
        ("POST", "/v1/hosts/gpu1/purge"): lambda _: (200, iter([{"line": "account"}, b"\n", {"result": purged}])),
    }
    assert home.run("hosts", "rm", "gpu1") == (0, "", "✓ gpu1 is forgotten; what lyc put there stays\n")
    code, out, err = home.run("hosts", "rm", "gpu1", "--purge")
    assert (code, out) == (2, "")
    assert err.startswith("gpu1 holds 1 engine (9.0 GiB) and 2 models (31.0 GiB) below /var/lib/lyc, and runs 1 engine")
    assert "needs-confirmation" in err
    assert hosts.made("POST", "/v1/hosts/gpu1/purge") == []
    code, _, err = home.run("hosts", "rm", "gpu1", "--purge", "--yes")
    assert (code, err) == (0, "account\n✓ nothing of lyc is left on gpu1, and it is forgotten\n")
    document = json.loads(home.run("hosts", "rm", "gpu1", "--purge", "--yes", "--force", "--json")[1])
    assert document == {"version": 1, **purged}
    assert [call["body"] for call in hosts.made("POST", "/v1/hosts/gpu1/purge")] == [{"force": False}, {"force": True}]
    assert home.run("hosts", "rm", "gpu1", "--force")[0] == 2


def test_a_purge_that_fails_says_why_and_one_that_is_cut_off_too(home: Home, hosts: Controller) -> None:
    path = ("POST", "/v1/hosts/gpu1/purge")
    in_use = Failed("host-in-use", "a runs on gpu1", hint="lyc down a")
    hosts.answers[path] = lambda _: (200, iter([{"line": "unit"}, {"error": in_use.document()}]))
    code, out, _ = home.run("hosts", "rm", "gpu1", "--purge", "--yes", "--json")
    assert (code, error_of(out)["ref"]) == (1, "host-in-use")
    hosts.answers[path] = lambda _: (200, iter([{"line": "unit"}]))
    code, out, _ = home.run("hosts", "rm", "gpu1", "--purge", "--yes", "--json")
    assert (code, error_of(out)["ref"]) == (6, "controller-gone")


def test_prepare(home: Home, hosts: Controller) -> None:
    path = ("POST", "/v1/hosts/gpu1/prepare")
    hosts.answers[path] = lambda _: (
        200,
        iter([{"line": "account lyc"}, {"result": {"name": "gpu1", "changed": True}}]),
    )
    assert home.run("hosts", "prepare", "gpu1") == (0, "", "account lyc\n✓ gpu1 is prepared\n")
    hosts.answers[path] = lambda _: (200, iter([{"result": {"name": "gpu1", "changed": False}}]))
    assert home.run("hosts", "prepare", "gpu1")[2] == "✓ gpu1 was prepared already\n"
    missing = NotFound("no-such-host", "there is no host 'gpu9'", hint="lyc hosts ls")
    hosts.answers["POST", "/v1/hosts/gpu9/prepare"] = (404, {"error": missing.document()})
    assert home.run("hosts", "prepare", "gpu9")[0] == 1


def test_leases(home: Home, hosts: Controller) -> None:
    hosts.answers["PUT", "/v1/hosts/gpu1"] = (200, host(lease_seconds=900) | {"new": True})
    for words, sent in (([], None), (["--lease", "15m"], 900), (["--lease", "none"], 0)):
        assert home.run("hosts", "add", "root@gpu1", *words)[0] == 0
        assert hosts.made("PUT", "/v1/hosts/gpu1")[-1]["body"]["lease_seconds"] == sent
    for text, ref in (("5s", "invalid-lease"), ("soon", "invalid-duration")):
        code, out, _ = home.run("hosts", "add", "root@gpu1", "--lease", text, "--json")
        assert (code, error_of(out)["ref"]) == (2, ref)


def test_a_deployment_whose_host_does_not_answer(home: Home, hosts: Controller) -> None:
    error = Unreachable("host-unreachable", "gpu1 does not answer", hint="lyc hosts check gpu1").document()
    lost = {"id": "a-2-abc", "release": 2, "state": "unreachable", "host": "gpu1", "pid": None, "gpus": [0, 1],
            "created_at": 1.0, "ready_at": 2.0, "attempts": 1, "error": error}  # fmt: skip
    other = lost | {"id": "a-2-def", "state": "ready", "host": "gpu2", "gpus": None, "error": None}
    document = deployment(state="degraded", host="gpu1", replica_list=[lost, other], error=None)
    hosts.answers |= {
        ("GET", "/v1/deployments"): (200, {"deployments": [document]}),
        ("GET", "/v1/deployments/a"): (200, document),
        ("DELETE", "/v1/deployments/a"): (202, {"operation": "op"}),
        ("GET", "/v1/operations/op/events"): lambda _: (
            200, iter([{"seq": 1, "at": 0, "kind": "result", "data": {"name": "a", "stopped": [], "seconds": 1.0}}])
        ),
    }  # fmt: skip
    assert "gpu1 (unreachable), gpu2" in home.run("ls")[1]
    out = home.run("status", "a")[1]
    rows = [line.split() for line in out.splitlines()]
    assert rows[9][:6] == ["REPLICA", "RELEASE", "STATE", "HOST", "GPUS", "PID"]
    assert rows[10][:6] == ["a-2-abc", "2", "unreachable", "gpu1", "0,1", "-"]
    assert "error[host-unreachable]: gpu1 does not answer\n" in out
    assert out.endswith("hint: lyc hosts check gpu1\n")

    code, _, err = home.run("down", "a", "--yes")
    assert code == 0
    assert "warning: gpu1 does not answer, and is waited for: lyc down a --force goes on without it\n" in err
    code, _, err = home.run("down", "a", "--yes", "--force")
    assert (code, "warning" in err) == (0, False)
    queries = [call["query"] for call in hosts.made("DELETE", "/v1/deployments/a")]
    assert queries == ["drain_timeout=30.0", "drain_timeout=30.0&force=true"]


def test_names_of_hosts_are_completed(home: Home, hosts: Controller) -> None:
    words = {"_LYC_COMPLETE": "complete_bash", "COMP_WORDS": "lyc deploy a --host ", "COMP_CWORD": "4"}
    assert home.run(**words)[1].split() == ["local", "any", "rent", "gpu1"]
    words = {"_LYC_COMPLETE": "complete_bash", "COMP_WORDS": "lyc hosts prune g", "COMP_CWORD": "3"}
    assert home.run(**words)[1].split() == ["gpu1"]
