"""A home of lyc whose engine is `lyc.testing.engine`: all else is the real thing, and a replica starts in a second.

For what takes many replicas, many requests, or an engine that misbehaves on demand.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lyc.engines.versions import pinned, recipe
from lyc.hosts.making import MARKER, folder_name
from tests.e2e.harness import Lyc, make

_VLLM = """#!{python}
import json, os, sys
from pathlib import Path

given = dict(zip(sys.argv[3:], sys.argv[4:]))
behaviour = json.loads(Path({behaviour!r}).read_text())
config = Path(given["--config"])
key = config.with_name("key")
key.write_text(json.loads(config.read_text())["api-key"])
from lyc.testing.engine import main

words = ["--uds", given["--uds"], "--api-key-file", str(key), "--served-model-name", given["--served-model-name"]]
if "--enable-sleep-mode" in sys.argv and os.environ.get("VLLM_SERVER_DEV_MODE") == "1":
    words.append("--developer")
words += ["--name", str(config.parent.parent.name), "--load-delay", str(behaviour.pop("load_delay", 0))]
if behaviour.pop("fails", False):
    sys.exit("RuntimeError: as it was told")
main([*words, "--behaviour", json.dumps(behaviour)])
"""
_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
    "max_position_embeddings": 2048, "torch_dtype": "bfloat16", "tie_word_embeddings": True,
}  # fmt: skip
_VERSION = (sys.version_info.major, sys.version_info.minor)


def write_model(folder: Path, seed: int = 0) -> Path:
    """A model that can be planned and hashed; nobody ever computes with it. seed: other weights, another release."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    tensors = {"model.embed_tokens.weight": {"dtype": "BF16", "shape": [256, 64], "data_offsets": [0, 32768]}}
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes([seed]) * 32768)
    return folder


def write_engines(root: Path, behaviour: Path) -> Path:
    """Engine environments, of which the CPU build's `vllm` is the stand-in; it does what the file says as it starts."""
    return _write_engine(root, behaviour, on_cpu=True)


def write_cuda_engine(root: Path, behaviour: Path) -> Path:
    """The same in place of the build for CUDA."""
    return _write_engine(root, behaviour, on_cpu=False)


def _write_engine(root: Path, behaviour: Path, *, on_cpu: bool) -> Path:
    folder = root / folder_name(recipe(pinned(on_cpu=on_cpu)), _VERSION)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    command = folder / "bin" / "vllm"
    command.write_text(_VLLM.format(python=sys.executable, behaviour=str(behaviour)))
    command.chmod(0o755)
    (folder / MARKER).write_text("stand-in\n")
    return root


@dataclass
class Home(Lyc):
    """behaviour: the file that engines read as they start. model: a folder."""

    behaviour: Path = Path()
    model: Path = Path()

    def behave(self, **fields: Any) -> None:
        """Of engines that start from now on: fields of `lyc.testing.engine.Behaviour`, load_delay, fails."""
        self.behaviour.write_text(json.dumps(fields))

    def deploy(self, *words: str, name: str = "chat", model: Path | None = None, code: int = 0) -> Any:
        return self.json("deploy", str(model or self.model), "--gpu", "cpu", "--name", name, *words, code=code)

    def key(self, name: str = "chat") -> str:
        return str(self.json("keys", "create", name)["key"])

    def client(self, name: str = "chat", **options: Any) -> httpx.Client:
        """Of the endpoint, with a key of its own."""
        return httpx.Client(
            base_url=self.status(name)["url"], headers={"authorization": f"Bearer {self.key(name)}"},
            timeout=options.pop("timeout", 60), limits=httpx.Limits(max_connections=1000), **options,
        )  # fmt: skip

    def engine(self, replica: str, name: str = "chat") -> httpx.Client:
        """Of one engine, on its own socket."""
        row = next(one for one in self.store_rows(name) if one["id"] == replica)
        key = (self.home / "deployments" / name / "engine.key").read_text()
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=row["socket"]), base_url="http://engine",
            headers={"authorization": f"Bearer {key}"},
        )  # fmt: skip

    def store_rows(self, name: str = "chat") -> list[dict[str, Any]]:
        import sqlite3

        with sqlite3.connect(f"file:{self.home / 'lyc.db'}?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM replicas WHERE deployment = ?", (name,))]

    def running(self, name: str = "chat") -> list[str]:
        """Ids of the replicas that serve."""
        return [one["id"] for one in self.status(name)["replica_list"] if one["state"] == "ready"]


def make_home(path: Path) -> Home:
    base = make(path / "home", path / "cache")
    behaviour = path / "behaviour.json"
    behaviour.write_text("{}")
    write_engines(path / "engines", behaviour)
    env = base.env | {"LYC_ENGINES": str(path / "engines")}
    return Home(base.home, env, behaviour, write_model(path / "model"))
