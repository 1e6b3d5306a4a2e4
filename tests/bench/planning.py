#!/usr/bin/env python3
"""lyc's planner beside hf-mem, `accelerate estimate-memory` and the rule "weights × 1.2", on logged starts of vLLM.

    .venv/bin/python tests/bench/planning.py [--engine BIN]

Installs hf-mem, and accelerate on top of the engine's torch and transformers, into throw-away environments by uv, and
gives them a hub of their own: every model of tests/planning/measured with its real config.json, and one tensor that
has as many bytes as all of the real ones, which is all that hf-mem wants to know of them.

None of the three foretells a number of KV tokens. What a person would do with their figures is done here, with the
memory that CUDA reports and vLLM's own share of it, which they would not even know:
tokens = (share of the card − weights / tp) / (KV bytes of a token / tp). hf-mem tells the KV bytes; for the others it
is 2 × layers × KV heads × head size × 2. Of accelerate's columns the one is taken that is nearest to the checkpoint:
float16, int8 or int4.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lyc.engines.versions import pinned  # noqa: E402
from lyc.hosts.environment import UvInstaller  # noqa: E402
from lyc.planning import survey  # noqa: E402
from lyc.records.model import ModelFacts  # noqa: E402
from lyc.records.wish import Wish  # noqa: E402
from lyc.spec.settings import load  # noqa: E402
from lyc.units import GIB  # noqa: E402
from tests.planning.measured.replay import (  # noqa: E402
    MODELS,
    STARTED,
    Start,
    card_of,
    facts_of,
    folder,
    replayed,
    starts,
)
from tests.sources.hub import Handler, Hub  # noqa: E402

BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}
"""Of one element; of all other types it is 1."""
HF_MEM, ACCELERATE = "hf-mem==0.5.6", "accelerate==1.15.0"

DRIVE_HF_MEM = """
import importlib, json, sys, time, warnings
from pathlib import Path
import httpx2
run = importlib.import_module("hf_mem.run").run
warnings.simplefilter("ignore")
root, asked, plain = Path(sys.argv[1]), json.loads(sys.argv[2]), httpx2.AsyncClient

def answer(request):
    parts = request.url.path.strip("/").split("/")
    if parts[:2] == ["api", "models"]:
        files = (root / "--".join(parts[2:4])).iterdir()
        return httpx2.Response(200, json=[{"path": file.name, "type": "file"} for file in files])
    data = (root / "--".join(parts[:2]) / parts[-1]).read_bytes()
    return httpx2.Response(200, content=data)

httpx2.AsyncClient = lambda **options: plain(transport=httpx2.MockTransport(answer), follow_redirects=True)

def ask(model, length, dtype):
    return run(model, experimental=True, max_model_len=length, kv_cache_dtype=dtype)

for model, length, dtype in asked:
    began = time.process_time()
    try:
        try:
            found = ask(model, length, dtype)
        except RuntimeError:  # it cannot tell the cache's type of a quantized model and says to name one
            found = ask(model, length, "bfloat16")
        print(json.dumps([model, found.memory, found.kv_cache, time.process_time() - began]))
    except Exception as error:
        print(json.dumps([model, None, f"{type(error).__name__}: {error}"[:120], 0]))
"""
DRIVE_ACCELERATE = """
import contextlib, io, json, sys, time
from argparse import Namespace
from accelerate.commands.estimate import gather_data

for model in json.loads(sys.argv[1]):
    asked = Namespace(model_name=model, library_name="transformers", dtypes=["float16", "int8", "int4"],
                      trust_remote_code=False)
    began = time.process_time()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            data = gather_data(asked)
        print(json.dumps([model, {row[0]: row[2] for row in data}, time.process_time() - began]))
    except Exception as error:
        print(json.dumps([model, None, f"{type(error).__name__}: {error}"[:120]]))
"""


class OpenHandler(Handler):
    """The hub of the tests; accelerate also wants the configuration in the model's description."""

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if status == 200 and b'"modelId"' in body:
            body = json.dumps(json.loads(body) | {"config": {}}).encode()
        super().answer(status, body, headers)


@contextmanager
def hub_of(models: Mapping[str, Path]) -> Iterator[str]:
    hub = Hub()
    for name, path in models.items():
        hub.add(name, path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (OpenHandler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub.url
    finally:
        server.shutdown()
        server.server_close()


def environment(at: Path, *packages: str, python: Path, on_top: bool = False) -> Path:
    """Its interpreter. on_top: the packages of `python`'s own environment are seen too, and nothing else is brought."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", python, at], check=True)
    made = at / "bin/python"
    subprocess.run([uv, "pip", "install", "-q", "--python", made, *(["--no-deps"] if on_top else []), *packages],
                   check=True)  # fmt: skip
    if on_top:
        seen = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                              capture_output=True, text=True, check=True).stdout  # fmt: skip
        next(at.glob("lib/python*/site-packages")).joinpath("engine.pth").write_text(seen, encoding="utf-8")
    return made


def lines_of(argv: list[Any], env: Mapping[str, str]) -> list[Any]:
    done = subprocess.run([str(word) for word in argv], env={**os.environ, **env}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    if done.returncode:
        sys.exit(f"{argv[0]}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def publish(model: str, size: int, place: Path) -> Path:
    """A repository: config.json and one tensor of `size` bytes, of which only the header is there."""
    at = folder(model, place / model.replace("/", "--"))
    (at / "model.safetensors.index.json").unlink(missing_ok=True)
    header = json.dumps({"all": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    (at / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return at


def stored(model: str, facts: ModelFacts) -> int:
    """Bytes of all tensors: of the index where there is one, else as inspection expects them."""
    if (size := MODELS[model]["total_size"]) is not None:
        return int(str(size))
    return sum(math.prod(group.shape) * group.count * BYTES.get(group.dtype, 1) for group in facts.tensors)


class Rival:
    """weights: bytes of the whole model. token: KV bytes of one token over all GPUs; None = no figure."""

    def __init__(self, weights: float | None, token: float | None, factor: float = 1.0) -> None:
        self.weights, self.token, self.factor = weights, token, factor

    def weights_gib(self, start: Start) -> float | None:
        return None if self.weights is None else self.weights / start.tp / start.pp / GIB

    def tokens(self, start: Start, share: float) -> float | None:
        if self.weights is None or not self.token:
            return None
        cards = start.tp * start.pp
        return max((share - self.weights * self.factor / cards) * cards / self.token, 0)


def plain_token(facts: ModelFacts) -> float | None:
    if not (facts.num_hidden_layers and facts.num_key_value_heads and facts.head_dim):
        return None
    return 2 * facts.num_hidden_layers * facts.num_key_value_heads * facts.head_dim * 2


def nearest_column(facts: ModelFacts, start: Start) -> str:
    """Of accelerate's columns, by what the checkpoint is (or is made while it loads)."""
    method = str(start.quantization or facts.quantization or "")
    bits = json.dumps(facts.quantization_detail)
    if not method:
        return "float16"
    four = method in ("awq", "gptq", "mxfp4", "bitsandbytes") or '"num_bits": 4' in bits or "NVFP4" in bits
    return "int4" if four else "int8"


def p90(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


def report(names: list[str], found: Mapping[str, Mapping[str, list[float]]]) -> None:
    print(f"{'|error| over the same rows':34}{'weights':>18}{'KV tokens':>22}{'times lyc':>12}")
    print(f"{'':34}{'median     p90':>18}{'median     p90':>22}{'median':>12}{'rows':>6}")
    for name in names:
        cells = [f"{name:34}"]
        for figure, width in (("weights", 18), ("tokens", 22)):
            values = found[name][figure]
            text = f"{statistics.median(values):.2%} {p90(values):>7.1%}" if values else "–"
            cells.append(f"{text:>{width}}")
        mine, its = statistics.median(found["lyc"]["tokens"]), statistics.median(found[name]["tokens"] or [math.nan])
        cells.append(f"{its / mine:>12.1f}" if mine else f"{'–':>12}")
        print("".join(cells), f"{len(found[name]['tokens']):>5}")


def seconds_of_plans(models: Mapping[str, ModelFacts], version: tuple[int, ...]) -> list[float]:
    """Of one plan over all cards and counts, each model once after a first to warm up."""
    taken = []
    for facts in [next(iter(models.values())), *models.values()]:
        began = time.process_time()
        survey.survey(facts, Wish(version=version))
        taken.append(time.process_time() - began)
    return taken[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, help="bin folder of an environment with torch and transformers")
    engine = parser.parse_args().engine
    engine = engine or UvInstaller(load(os.environ).engines, os.environ).install(pinned(on_cpu=True), print)
    rows = [start for start in starts() if start.whole and start.outcome == STARTED and start.kv_tokens]
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        known = {model: facts_of(folder(model, place / "facts" / model.replace("/", "--"))) for model in MODELS}
        sizes = {model: stored(model, known[model]) for model in MODELS}
        repositories = {model: publish(model, size, place / "hub") for model, size in sizes.items() if size}
        asked = [(start.model, start.max_model_len or known[start.model].max_position_embeddings,
                  start.kv_cache_dtype or "auto") for start in rows if start.model in repositories]  # fmt: skip
        python = environment(place / "hf-mem", HF_MEM, python=Path(sys.executable))
        its = lines_of([python, "-c", DRIVE_HF_MEM, place / "hub", json.dumps(asked)], {})
        hf_mem = dict(zip(asked, its, strict=True))
        python = environment(place / "accelerate", ACCELERATE, python=engine / "python", on_top=True)
        with hub_of(repositories) as url:
            env = {"HF_ENDPOINT": url, "HF_HOME": str(place / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
            answers = lines_of([python, "-c", DRIVE_ACCELERATE, json.dumps(sorted(repositories))], env)
        accelerate = {answer[0]: answer for answer in answers}
        compare(rows, known, sizes, asked_of=hf_mem, accelerate=accelerate)
        print("\nCPU time after imports, without a network:")
        taken = [answer[3] for answer in its if answer[1]]
        print(f"hf-mem, one model and no card: median {statistics.median(taken) * 1000:.0f} ms (one tensor to read)")
        taken = [answer[2] for answer in answers if answer[1]]
        print(f"accelerate, one model and no card: median {statistics.median(taken) * 1000:.0f} ms")
        own = seconds_of_plans(known, (0, 33, 0))
        print(f"lyc, one model over all cards and counts: median {statistics.median(own) * 1000:.0f} ms,"
              f" longest {max(own) * 1000:.0f} ms")  # fmt: skip


def compare(
    rows: list[Start],
    known: Mapping[str, ModelFacts],
    sizes: Mapping[str, int],
    *,
    asked_of: Mapping[Any, Any],
    accelerate: Mapping[str, Any],
) -> None:
    names = ["lyc", "hf-mem", "accelerate estimate-memory", "weights × 1.2"]
    found: dict[str, dict[str, list[float]]] = {name: {"weights": [], "tokens": []} for name in names}
    mute: dict[str, set[str]] = {}
    for start in rows:
        facts, fit = known[start.model], replayed(start, known[start.model])
        key = (start.model, start.max_model_len or facts.max_position_embeddings, start.kv_cache_dtype or "auto")
        share = card_of(start).cuda_total * float(fit.serving.utilization)
        plain = plain_token(facts)
        _, memory, cache, _ = asked_of.get(key, (None, None, "no size", 0))
        columns = accelerate.get(start.model, (None, None, "no size"))
        rivals = {
            "hf-mem": Rival(memory, cache / key[1] if memory and isinstance(cache, int) else None),
            "accelerate estimate-memory": Rival(columns[1] and columns[1][nearest_column(facts, start)], plain),
            "weights × 1.2": Rival(sizes[start.model] or None, plain, 1.2),
        }
        figures: dict[str, tuple[float | None, float | None]] = {
            name: (rival.weights_gib(start), rival.tokens(start, share)) for name, rival in rivals.items()
        }
        figures["lyc"] = fit.size("weights") / GIB, float(fit.cache.tokens) if fit.cache else 0.0
        if silent := [name for name, (_, tokens) in figures.items() if tokens is None]:
            for name in silent:
                mute.setdefault(name, set()).add(start.model)
            continue  # the same rows for all
        for name, (weights, tokens) in figures.items():
            if weights is not None and start.weights_gib:
                found[name]["weights"].append(abs(weights / start.weights_gib - 1))
            if tokens is not None and start.kv_tokens:
                found[name]["tokens"].append(abs(tokens / start.kv_tokens - 1))
    report(names, found)
    for name, models in mute.items():
        print(f"left out, because {name} has no figure: {', '.join(sorted(models))}")


if __name__ == "__main__":
    main()
