"""`lyc hosts` as its user meets it: the real command, its controller, a real sshd, and keys that change."""

from __future__ import annotations

import getpass
import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lyc.testing.models import TinyModels
from tests.e2e.harness import LYC, Lyc, make
from tests.hosts.ssh.server import SSHD, Account, Server, fingerprint, keygen

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SSHD, reason="sshd is not installed")]
H100 = "NVIDIA H100 80GB HBM3, 81559, 81079, 9.0, GPU-1, 580.95.05"


@pytest.fixture
def account() -> Iterator[Account]:
    home = Path(tempfile.mkdtemp(prefix="lyc-hosts-"))
    yield Account(home)
    shutil.rmtree(home)


@pytest.fixture
def servers(account: Account) -> Iterator[Callable[[str], Server]]:
    made: list[Server] = []

    def start(name: str, more: str = "") -> Server:
        server = Server(account.home / name, account.public)
        server.more = more
        made.append(server)
        server.start()
        account.knows(name, server)
        return server

    yield start
    for server in made:
        server.stop(connections=True)


@pytest.fixture
def box(servers: Callable[[str], Server]) -> Server:
    return servers("box")


@pytest.fixture
def lyc(tmp_path: Path, account: Account) -> Iterator[Lyc]:
    made = make(account.home / "lyc", tmp_path / "cache")
    made.env["LYC_SSH_CONFIG"] = str(account.config)
    yield made
    if (made.home / "lyc.db").exists():
        for host in made.json("hosts", "ls")["hosts"]:
            made.run("hosts", "rm", host["name"])
    made.close()


def pinned(lyc: Lyc) -> str:
    path = lyc.home / "known_hosts"
    return path.read_text() if path.exists() else ""


def states(lyc: Lyc) -> dict[str, str]:
    return {host["name"]: host["state"] for host in lyc.json("hosts", "ls")["hosts"]}


def words(hint: str) -> list[str]:
    """The command at the end of a hint, as a user would type it."""
    return shlex.split(hint[hint.rindex("lyc hosts add") :])[1:]


def test_first_contact_needs_a_word_and_the_hint_is_that_word(lyc: Lyc, box: Server, account: Account) -> None:
    error = lyc.error("hosts", "add", "box", code=1)
    assert error["ref"] == "host-key-unknown"
    assert error["detail"] == [box.fingerprint]
    assert states(lyc) == {}
    assert pinned(lyc) == ""
    added = lyc.json(*words(error["hint"]))
    assert (added["name"], added["new"], added["fingerprints"]) == ("box", True, [box.fingerprint])
    assert added["facts"]["kernel"] == os.uname().release
    assert states(lyc) == {"box": "ready"}
    assert not account.user_known_hosts.exists()

    again = lyc.json("hosts", "add", "box")
    assert (again["new"], again["added_at"]) == (False, added["added_at"])

    text = lyc.run("hosts", "ls").stdout
    assert text.splitlines()[0].split()[:4] == ["NAME", "STATE", "REPLICAS", "GPU"]
    assert "ssh://box" in text
    shown = lyc.run("hosts", "show", "box").stdout
    assert box.fingerprint in shown
    assert os.uname().release in shown
    report = lyc.run("hosts", "check", "box")
    assert "✓ libc" in report.stdout
    checked = lyc.json("hosts", "check", "box")
    assert checked["fit"]
    assert checked["seen_at"] > added["seen_at"]
    (network,) = [check for check in checked["checks"] if check["name"] == "network"]
    assert (network["state"], "http://127.0.0.1:9" in network["found"]) == ("warning", True)

    assert lyc.run("hosts", "ssh", "box", "--", "echo", "from", "there").stdout == "from there\n"
    lyc.run("hosts", "ssh", "box", "--", "exit", "7", code=7)

    assert lyc.json("hosts", "rm", "box") == {"version": 1, "name": "box", "removed": True}
    assert pinned(lyc) == ""
    assert lyc.error("hosts", "show", "box", code=1)["ref"] == "no-such-host"
    assert lyc.error("hosts", "add", "box", code=1)["ref"] == "host-key-unknown"


def test_a_host_that_the_user_knows_already_needs_no_word(lyc: Lyc, box: Server, account: Account) -> None:
    key = box.host_key.with_suffix(".pub").read_text().split()[:2]
    account.user_known_hosts.write_text(f"[127.0.0.1]:{box.port} {' '.join(key)}\n")
    assert lyc.json("hosts", "add", "box")["new"]
    assert pinned(lyc) == ""


def test_a_wrong_fingerprint_pins_nothing(lyc: Lyc, box: Server, account: Account) -> None:
    other = fingerprint(account.key.with_suffix(".pub"))
    error = lyc.error("hosts", "add", "box", "--accept-host-key", other, code=1)
    assert (error["ref"], error["detail"]) == ("host-key-other", [box.fingerprint])
    assert pinned(lyc) == ""
    assert lyc.error("hosts", "add", "box", "--accept-host-key", "SHA256:short", code=2)["ref"] == "invalid-fingerprint"


def test_a_key_that_changes_is_refused_until_it_is_accepted(lyc: Lyc, box: Server) -> None:
    lyc.run("hosts", "add", "box", "--name", "gpu1", "--accept-host-key", "accept-new")
    box.stop(connections=True)
    keygen(box.host_key)
    box.start()
    error = lyc.error("hosts", "check", "gpu1", code=1)
    assert error["ref"] == "host-key-changed"
    assert states(lyc) == {"gpu1": "key-changed"}
    assert "host-key-changed" in lyc.run("hosts", "show", "gpu1").stdout
    assert lyc.error("hosts", "add", "box", "--accept-host-key", "accept-new", code=1)["ref"] == "host-key-changed"
    assert lyc.run("hosts", "ssh", "gpu1", "--", "true", code=255)
    lyc.run(*words(error["hint"]))
    assert states(lyc) == {"gpu1": "ready"}
    assert lyc.json("hosts", "show", "gpu1")["fingerprints"] == [box.fingerprint]


def test_a_host_that_goes_away_and_comes_back(lyc: Lyc, box: Server) -> None:
    lyc.run("hosts", "add", "box", "--accept-host-key", "accept-new")
    box.stop(connections=True)
    assert lyc.error("hosts", "check", "box", code=6)["ref"] == "host-unreachable"
    host = lyc.json("hosts", "show", "box")
    assert (host["state"], host["error"]["ref"]) == ("unreachable", "host-unreachable")
    assert host["facts"]["hostname"]
    assert lyc.json("hosts", "ls", "--check")["hosts"][0]["state"] == "unreachable"
    box.start()
    assert lyc.json("hosts", "ls", "--check")["hosts"][0]["state"] == "ready"
    assert lyc.json("hosts", "show", "box")["error"] is None


def test_a_login_that_is_refused_leaves_nothing_behind(lyc: Lyc, box: Server) -> None:
    (box.folder / "authorized_keys").write_text("")
    error = lyc.error("hosts", "add", "box", "--accept-host-key", box.fingerprint, code=4)
    assert error["ref"] == "host-denied"
    assert (states(lyc), pinned(lyc)) == ({}, "")
    assert lyc.error("hosts", "add", "nobody@nowhere.invalid", code=6)["ref"] == "host-unreachable"


def test_a_shell_that_runs_nothing_is_told(lyc: Lyc, servers: Callable[..., Server]) -> None:
    servers("jail", "ForceCommand echo 'This account is for files only.'")
    error = lyc.error("hosts", "add", "jail", "--accept-host-key", "accept-new", code=1)
    assert error["ref"] in ("remote-shell", "host-shell-odd")
    assert pinned(lyc) == ""


def test_names_and_addresses_are_one_to_one(lyc: Lyc, box: Server, servers: Callable[[str], Server]) -> None:
    servers("other")
    lyc.run("hosts", "add", "box", "--accept-host-key", "accept-new")
    taken = lyc.error("hosts", "add", "other", "--name", "box", "--accept-host-key", "accept-new", code=1)
    assert taken["ref"] == "host-name-taken"
    assert lyc.error("hosts", "add", "box", "--name", "second", code=1)["ref"] == "host-known-already"
    assert lyc.error("hosts", "add", "other", "--name", "local", code=2)["ref"] == "host-name-taken"
    assert lyc.error("hosts", "add", "other", "--name", "Not A Name", code=3)["ref"] == "invalid-name"
    assert lyc.error("hosts", "add", "box:22", code=2)["hint"] == "ssh://box:22"
    assert lyc.error("hosts", "add", "-oProxyCommand=touch x", code=2)["ref"] in ("no-such-option", "invalid-address")
    assert states(lyc) == {"box": "ready"}


def test_several_at_once(lyc: Lyc, servers: Callable[[str], Server]) -> None:
    for name in ("a", "b"):
        servers(name)
    lyc.run("controller", "start")
    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(lyc.json, "hosts", "add", n, "--accept-host-key", "accept-new") for n in "abab"]
        new = sorted((done.result()["name"], done.result()["new"]) for done in adding)
    assert new == [("a", False), ("a", True), ("b", False), ("b", True)]
    assert states(lyc) == {"a": "ready", "b": "ready"}
    assert len(pinned(lyc).splitlines()) == 2


def test_without_hosts_nothing_is_started(lyc: Lyc) -> None:
    assert lyc.json("hosts", "ls")["hosts"] == []
    assert "lyc hosts add" in lyc.run("hosts", "ls").stderr
    for verb in ("show", "check", "prepare", "prune", "unlock", "rm", "ssh"):
        assert lyc.run("hosts", verb, "box", code=1).stderr.startswith("error[no-such-host]")
    assert not lyc.home.exists()


def on_a_terminal(lyc: Lyc, answer: str, *line: str) -> tuple[int, str]:
    """Exit code and all that a person sees who types `answer` when asked."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([LYC, *line], env=lyc.env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen, deadline, asked = "", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(leader, 4096)
        except OSError:  # the other end is closed: it has ended
            break
        seen += data.decode()
        if "[y/N]" in seen and not asked:
            asked = True
            os.write(leader, answer.encode() + b"\n")
    os.close(leader)
    return process.wait(timeout=10), seen


def test_on_a_terminal_it_asks(lyc: Lyc, box: Server) -> None:
    code, seen = on_a_terminal(lyc, "n", "hosts", "add", "box")
    assert (code, box.fingerprint in seen) == (130, True)
    assert (states(lyc), pinned(lyc)) == ({}, "")
    code, seen = on_a_terminal(lyc, "y", "hosts", "add", "box")
    assert (code, box.fingerprint in seen, "box is added" in seen) == (0, True, True)
    assert states(lyc) == {"box": "ready"}
    assert len(pinned(lyc).splitlines()) == 1


def llama(folder: Path, layers: int, hidden: int) -> str:
    """A folder with the config.json of a llama, whose weights are elsewhere."""
    folder.mkdir()
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": hidden // 128,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_whether_a_model_could_be_served_there(lyc: Lyc, account: Account, servers: Callable[..., Server],
                                               tmp_path: Path) -> None:  # fmt: skip
    fake = account.home / "bin"
    fake.mkdir()
    (fake / "nvidia-smi").write_text(
        f"#!/bin/sh\ncase \"$*\" in *compute_cap*) echo '{H100}';; '') echo 'CUDA Version: 13.0';; esac\n"
    )
    (fake / "nvidia-smi").chmod(0o755)
    servers("gpu", f"SetEnv PATH={fake}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    added = lyc.json("hosts", "add", "gpu", "--accept-host-key", "accept-new")
    assert [card["name"] for card in added["facts"]["accelerators"]] == ["h100"]
    assert "1 × h100" in lyc.run("hosts", "ls").stdout

    small = lyc.json("hosts", "check", "gpu", llama(tmp_path / "small", 32, 4096))
    (model,) = [check for check in small["checks"] if check["name"] == "model"]
    assert model["state"] != "failed", model
    assert "1 × h100" in model["found"]
    large = lyc.json("hosts", "check", "gpu", llama(tmp_path / "large", 80, 16384), code=1)
    assert not large["fit"]
    assert large["checks"][0]["state"] == "failed"
    (model,) = [check for check in large["checks"] if check["name"] == "model"]
    assert (model["state"], bool(model["remedy"])) == ("failed", True)
    assert lyc.error("hosts", "check", "gpu", str(tmp_path / "none"), code=3)["where"]


def test_a_deploy_makes_an_address_known_and_refuses_what_the_host_cannot_do(
    lyc: Lyc, account: Account, servers: Callable[..., Server], models: TinyModels
) -> None:
    fake = account.home / "bin"
    fake.mkdir()
    old = H100.replace("580.95.05", "470.1")
    (fake / "nvidia-smi").write_text(
        f"#!/bin/sh\ncase \"$*\" in *compute_cap*) echo '{old}';; '') echo 'CUDA Version: 11.4';; esac\n"
    )
    (fake / "nvidia-smi").chmod(0o755)
    box = servers("gpu", f"SetEnv PATH={fake}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    address = f"{getpass.getuser()}@gpu"
    deploy = ("deploy", str(models.base), "--name", "m", "--host")
    assert lyc.error(*deploy, "gpu", code=1)["hint"].startswith("make it known: lyc hosts add gpu")
    unknown = lyc.error(*deploy, address, code=1)
    assert (unknown["ref"], unknown["detail"]) == ("host-key-unknown", [box.fingerprint])
    assert states(lyc) == {}

    unfit = lyc.error(*deploy, address, "--accept-host-key", box.fingerprint, code=1)
    assert unfit["ref"] == "host-unfit"
    assert any(line.startswith("driver: 470.1") for line in unfit["detail"])
    assert states(lyc) == {"gpu": "unfit"}
    assert lyc.json("ls")["deployments"] == []
    assert lyc.error(*deploy, "gpu", code=1)["ref"] == "host-unfit"
    assert lyc.json("hosts", "show", "gpu")["prepared"] is False
    for verb in (("prune",), ("unlock",)):
        assert lyc.error("hosts", *verb, "gpu", code=1)["ref"] == "host-not-prepared"
