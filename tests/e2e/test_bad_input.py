"""Every mistake is one clear error with its exit code, within seconds, and nothing of it is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lyc.spec.settings import load
from lyc.testing.models import TinyModels
from tests.e2e.harness import Lyc, make


@pytest.fixture(scope="module")
def lyc(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Iterator[Lyc]:
    """One home for all: nothing may be left in it between two mistakes."""
    made = make(tmp_path_factory.mktemp("bad") / "home", weights_cache)
    yield made
    assert made.json("ls")["deployments"] == []
    made.close()


@pytest.fixture(autouse=True)
def nothing_left(lyc: Lyc) -> Iterator[None]:
    yield
    assert lyc.json("ls")["deployments"] == []
    assert lyc.pids() == []


def refused(lyc: Lyc, *words: str, code: int, ref: str, **options: object) -> dict[str, object]:
    """The error's document, after checking that a person gets one readable error with a way out, too."""
    error = lyc.error("deploy", *words, code=code, **options)
    assert error["ref"] == ref, error
    assert error["what"]
    assert error["hint"], "an error must say what to do next"
    return dict(error)


def test_no_such_folder(lyc: Lyc, tmp_path: Path) -> None:
    error = refused(lyc, str(tmp_path / "nowhere"), code=3, ref="no-such-folder")
    assert str(tmp_path / "nowhere") in str(error)


@pytest.mark.parametrize(
    ("patterns", "ref"),
    [
        (["config.json"], "no-config"),
        (["tokenizer*"], "no-tokenizer"),
        (["*.safetensors"], "no-weights"),
    ],
)
def test_an_incomplete_folder(lyc: Lyc, models: TinyModels, patterns: list[str], ref: str) -> None:
    refused(lyc, str(models.without(*patterns)), "--name", "x", code=3, ref=ref)


def test_truncated_weights(lyc: Lyc, models: TinyModels) -> None:
    error = refused(lyc, str(models.truncated()), "--name", "x", code=3, ref="truncated-weights")
    assert "model.safetensors" in str(error)


def test_a_pickle_is_refused_with_the_way_to_convert(lyc: Lyc, models: TinyModels) -> None:
    error = refused(lyc, str(models.pickle()), "--name", "x", code=3, ref="pickle-weights")
    assert "save_pretrained" in str(error["hint"])


def test_an_architecture_that_vllm_lacks(lyc: Lyc, models: TinyModels) -> None:
    folder = models.changed("unknown-architecture", architectures=["LlamaForCasualLM"])
    error = refused(lyc, str(folder), "--name", "x", code=3, ref="unsupported-architecture")
    assert "LlamaForCausalLM" in str(error)  # the nearest name


def test_a_draft_with_another_vocabulary(lyc: Lyc, models: TinyModels) -> None:
    words = ["--speculative", f"draft_model:{models.other_vocabulary()}"]
    refused(lyc, str(models.base), "--name", "x", *words, code=3, ref="draft-vocabulary-differs")


def test_a_context_beyond_the_models(lyc: Lyc, models: TinyModels) -> None:
    error = refused(
        lyc, str(models.base), "--name", "x", "--max-model-len", "999999", code=3, ref="max-model-len-too-large"
    )
    assert "2048" in str(error)


@pytest.mark.parametrize("name", ["Has_Capitals", "with space", "-dash", "x" * 64, "umlaut-ü"])
def test_a_name_that_cannot_be(lyc: Lyc, models: TinyModels, name: str) -> None:
    assert lyc.error("deploy", str(models.base), f"--name={name}", code=3)["hint"]


def test_an_unknown_flag_and_an_unknown_verb(lyc: Lyc) -> None:
    for words in (["deploy", "x", "--max-modle-len", "1"], ["delpoy", "x"]):
        done = lyc.run(*words, code=2)
        assert done.stdout == ""
        assert "max-model-len" in done.stderr or "deploy" in done.stderr


def test_an_unknown_key_in_lyc_toml_names_its_line_and_the_nearest_key(lyc: Lyc, tmp_path: Path) -> None:
    spec = tmp_path / "lyc.toml"
    spec.write_text('model = "sample:tiny"\n\nmax_modle_len = 512\n')
    error = lyc.error("deploy", "-f", str(spec), code=3)
    assert error["where"].endswith("lyc.toml:3")
    assert "max_model_len" in error["hint"]


def test_an_unknown_engine_option_names_the_nearest(lyc: Lyc, models: TinyModels) -> None:
    error = lyc.error("deploy", str(models.base), "--name", "x", "--engine-arg", "enforce-egaer=true", code=3)
    assert "enforce-eager" in str(error)


def test_options_that_lyc_keeps_for_itself(lyc: Lyc, models: TinyModels) -> None:
    for owned in ("host=0.0.0.0", "api-key=x", "trust-remote-code=true"):
        error = lyc.error("deploy", str(models.base), "--name", "x", "--engine-arg", owned, code=3)
        assert error["why"]


def test_a_card_that_this_machine_has_not(lyc: Lyc, models: TinyModels) -> None:
    error = lyc.error("deploy", str(models.base), "--name", "x", "--gpu", "h100", code=5)
    assert error["kind"] == "NoFit"


def test_a_quantization_that_cannot_be_here(lyc: Lyc, models: TinyModels) -> None:
    assert lyc.error("deploy", str(models.base), "--name", "x", "--quantization", "fp9", code=3)["hint"]
    assert lyc.error("deploy", str(models.base), "--name", "x", "--quantization", "fp8", code=5)["hint"]


def test_a_port_in_use(models: TinyModels, lyc: Lyc, tmp_path: Path, weights_cache: Path) -> None:
    other = make(tmp_path / "home", weights_cache)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = other.error("deploy", str(models.base), "--name", "x", code=2, env={"LYC_GATEWAY_PORT": port})
        assert error["ref"] == "port-in-use"
        assert port in error["what"]
    assert other.pids() == []
    other.close()


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does for a gated and for a missing model."""

    def do_GET(self) -> None:
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "Access to it is restricted" if gated else "Repository not found")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_gated_and_a_missing_hub_model(lyc: Lyc) -> None:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}"}
    try:
        gated = lyc.error("deploy", "acme/gated", code=4, env=env)
        assert "HF_TOKEN" in gated["hint"]
        missing = lyc.error("deploy", "acme/missing", code=3, env=env)
        assert "acme/missing" in missing["what"]
    finally:
        hub.shutdown()
        hub.server_close()


def test_no_network(lyc: Lyc) -> None:
    error = lyc.error("deploy", "acme/model", code=6)
    assert error["retry"] == "later"


def test_a_bucket_without_credentials(lyc: Lyc) -> None:
    assert lyc.error("deploy", "s3://bucket/model", "--s3-endpoint", "http://127.0.0.1:9", code=4)["hint"]


def test_a_bucket_that_nobody_serves(lyc: Lyc) -> None:
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "not-to-be-seen"}
    done = lyc.run("deploy", "s3://bucket/model", "--s3-endpoint", "http://127.0.0.1:9", code=6, env=env)
    assert "not-to-be-seen" not in done.stdout + done.stderr


def mounted(options: str, at: Path) -> Iterator[Path]:
    at.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a file system is not permitted here")
    yield at
    subprocess.run(["umount", str(at)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted("size=6m", tmp_path / "small")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted("size=6m,ro", tmp_path / "read-only")


def test_no_space_in_the_cache(lyc: Lyc, models: TinyModels, small_disk: Path) -> None:
    lyc.run("controller", "stop")
    error = lyc.error("deploy", str(models.base), "--name", "x", code=1, env={"LYC_CACHE": str(small_disk)})
    assert error["ref"] == "no-space"
    assert str(small_disk) in str(error)
    lyc.run("controller", "stop")


def test_a_cache_that_cannot_be_written(lyc: Lyc, models: TinyModels, read_only_disk: Path) -> None:
    lyc.run("controller", "stop")
    error = lyc.error("deploy", str(models.base), "--name", "x", code=1, env={"LYC_CACHE": str(read_only_disk)})
    assert "LYC_CACHE" in error["hint"]
    lyc.run("controller", "stop")


def test_a_home_that_cannot_be_written(models: TinyModels, lyc: Lyc, read_only_disk: Path, weights_cache: Path) -> None:
    other = make(read_only_disk / "home", weights_cache)
    assert "LYC_HOME" in other.error("deploy", str(models.base), "--name", "x", code=1)["hint"]


def test_a_controller_of_another_version(lyc: Lyc, tmp_path: Path, weights_cache: Path) -> None:
    other = make(tmp_path / "h", weights_cache)
    other.home.mkdir(parents=True)
    path = load(other.env).controller_socket
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    code = (
        "import http.server, json, socketserver, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body = json.dumps({'version': '99.0', 'api': 99, 'pid': 1, 'home': '/', 'gateway': {}}).encode()\n"
        "        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "    def log_message(self, *a): pass\n"
        "    def address_string(self): return ''\n"
        "server = socketserver.UnixStreamServer(sys.argv[1], H)\n"
        "print('up', flush=True)\n"
        "server.serve_forever()\n"
    )
    newer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert newer.stdout
    assert newer.stdout.readline() == b"up\n"
    try:
        (other.home / "lyc.db").touch()  # a home that was never used is not asked for its controller
        error = other.error("ls", code=1)
        assert error["ref"] == "other-controller-version"
        assert "99.0" in str(error)
        assert error["hint"]
    finally:
        newer.kill()
        newer.wait()
        path.unlink()


def test_a_person_sees_one_readable_error(lyc: Lyc, tmp_path: Path) -> None:
    done = lyc.run("deploy", str(tmp_path / "nowhere"), code=3)
    assert done.stdout == ""
    assert done.stderr.count("error[") == 1
    assert "hint:" in done.stderr


def test_json_on_stdout_and_talk_on_stderr(lyc: Lyc, tmp_path: Path) -> None:
    done = lyc.run("deploy", str(tmp_path / "nowhere"), "--json", code=3)
    assert json.loads(done.stdout)["error"]["exit_code"] == 3
    assert os.linesep in done.stdout
