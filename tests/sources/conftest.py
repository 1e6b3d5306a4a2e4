"""Small valid models, made on the spot."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lyc.errors import LycError
from lyc.sources.cache import ContentCache


def write_model(folder: Path, *, size: int = 300_000, shards: int = 1, seed: int = 0) -> Path:
    """A folder that inspection takes: config, tokenizer and `shards` safetensors files of about `size` bytes each."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "seed": seed}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}))
    (folder / "tokenizer_config.json").write_text("{}")
    names = ["model.safetensors"]
    if shards > 1:
        names = [f"model-{at + 1:05d}-of-{shards:05d}.safetensors" for at in range(shards)]
        weights = {f"w{at}": name for at, name in enumerate(names)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    for at, name in enumerate(names):
        row = {f"w{at}": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        text = json.dumps(row).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + chance.randbytes(size))
    return folder


@pytest.fixture
def make_model() -> Callable[..., Path]:
    return write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache", pause=lambda _: None)


def until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Wait for `condition`, and fail with `what` if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def beside(name: str) -> Any:
    """The module `name` in this folder, which is no package."""
    if f"sources_{name}" not in sys.modules:
        spec = importlib.util.spec_from_file_location(f"sources_{name}", Path(__file__).with_name(f"{name}.py"))
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return sys.modules[f"sources_{name}"]


@pytest.fixture
def hub() -> Iterator[Any]:
    """A running hub (see hub.py)."""
    with beside("hub").Server() as running:
        yield running


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Any]:
    """A running S3 server (see s3server.py)."""
    with beside("s3server").Server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[Callable[[], object]], str]:
    """Run something as a user who owns nothing; what it returned, or `kind ref document` of its error. Needs root."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)

    def run(something: Callable[[], object]) -> str:
        receiving, sending = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                said = str(something())
            except LycError as error:
                said = f"{type(error).__name__} {error.ref} {error.document()}"
            except BaseException as error:  # noqa: BLE001 (told to the parent)
                said = repr(error)
            os.write(sending, said.encode())
            os._exit(0)
        os.close(sending)
        with open(receiving, encoding="utf-8") as pipe:  # noqa: PTH123 (a descriptor)
            said = pipe.read()
        os.waitpid(child, 0)
        return said

    return run
