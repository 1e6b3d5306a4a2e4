"""Real starts of the pinned vLLM on the CPU: every quantization and every draft that works there, answering.

Each start costs 15 to 25 s on an idle machine, so a quantization and a draft share one where they can. w8a8 with ngram
and w4a16 with a draft model are deployed in tests/e2e/test_sources.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from uv import find_uv_bin

from lyc.engines import vllm
from lyc.engines.load import load
from lyc.engines.progress import progress
from lyc.engines.versions import ARCTIC_INFERENCE, VLLM_VERSION, pinned
from lyc.records.engine import EngineCommand
from lyc.records.plan import Plan
from lyc.testing.models import TinyModels
from lyc.units import MIB
from tests.engines import regenerate
from tests.engines.running import KEY, running, target

pytestmark = pytest.mark.engine
PLAN = Plan(
    engine=pinned(on_cpu=True), accelerator="cpu", max_model_len=512, kv_cache_bytes=64 * MIB, dtype="auto",
    enforce_eager=True,
)  # fmt: skip


def drafted(metrics: str) -> float:
    """Draft tokens made so far."""
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(vllm.DRAFTED_TOKENS))


@pytest.mark.parametrize(
    ("checkpoint", "quantization", "method"),
    [
        ("awq", "awq", "eagle3"),
        ("gptq", None, "eagle"),
        ("mtp", None, "mtp"),
        ("base", "int8_per_channel_weight_only", None),
        ("fp8", None, None),
    ],
    ids=lambda value: value or "",
)
def test_it_answers(
    engine_bin: Path, tiny: TinyModels, folder: Path, checkpoint: str, quantization: str | None, method: str | None
) -> None:
    made: dict[str, Callable[[], Path]] = {"base": lambda: tiny.base, "mtp": tiny.mtp}
    model = made.get(checkpoint, lambda: tiny.quantized(checkpoint))()
    draft = tiny.eagle(method) if method in ("eagle", "eagle3") else None
    plan = replace(PLAN, quantization=quantization, speculative_method=method)
    with running(plan, target(engine_bin, folder, model, draft)) as engine:
        assert engine.complete(tokens=24)
        assert (drafted(engine.metrics()) > 0) is (method is not None)
        said = load(engine.metrics())
        assert said is not None
        assert (said.running, said.waiting) == (0, 0)
        assert said.tokens >= 24
        assert said.kv_usage is not None


def test_suffix_decoding_with_its_package(engine_bin: Path, tiny: TinyModels, folder: Path, tmp_path: Path) -> None:
    """arctic-inference is built from source: more than a minute the first time on a machine."""
    extra = tmp_path / "extra"
    subprocess.run(
        [find_uv_bin(), "pip", "install", "--python", engine_bin / "python", "--target", extra, "--no-deps",
         ARCTIC_INFERENCE],
        check=True, capture_output=True,
    )  # fmt: skip
    plan = replace(PLAN, speculative_method="suffix", env={"PYTHONPATH": str(extra)})
    with running(plan, target(engine_bin, folder, tiny.base)) as engine:
        engine.complete("a b c d a b c d a b c d a b c d", tokens=48)
        assert drafted(engine.metrics()) > 0


def test_a_start_as_a_deploy_does_it(engine_bin: Path, tiny: TinyModels, folder: Path) -> None:
    """All of vLLM's processes, weights in three files: progress is seen, the probe passes, the key is nowhere."""
    at = target(engine_bin, folder, tiny.sharded(3))
    with running(PLAN, at, one_process=False) as engine:
        path, body = vllm.probe_request(at.served_name)
        answer = engine.client.post(path, json=body)
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 2
        for header in ({"authorization": "Bearer wrong"}, {"authorization": ""}):
            assert engine.client.post(path, json=body, headers=header).status_code == 401
        shown = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        lines = engine.log.read_text().splitlines()
    assert str(at.socket) in shown
    assert KEY.reveal() not in shown
    assert KEY.reveal() not in "\n".join(lines)
    said = [found for found in map(progress, lines) if found is not None]
    stages = list(dict.fromkeys(found.stage for found in said))
    assert stages == ["import", "load", "serve"]
    assert [found.fraction for found in said if "shard" in found.message][-1] == 1.0
    assert said[-1].message == "listening"


def test_the_tables_are_what_this_engine_says(engine_bin: Path, tmp_path: Path) -> None:
    """Options from its own --help, architectures and quantization methods from its registries."""
    regenerate.write_tables(engine_bin, tmp_path)
    names = [f"{name}-{VLLM_VERSION}.json" for name in ("options", "architectures", "model-types", "quantization")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / name).read_text() == (regenerate.DATA / name).read_text()


def test_the_command_is_understood_word_by_word(engine_bin: Path, folder: Path, tiny: TinyModels) -> None:
    """vLLM's own parser takes every option of a plan for the CPU and of one for GPUs, and means the same by it."""
    plans = [
        replace(PLAN, engine_args={"max-num-seqs": "4", "enforce-eager": "false", "compilation-config.mode": "0"}),
        Plan(engine=pinned(on_cpu=False), accelerator="h100", tensor_parallel=2, max_model_len=1024, dtype="auto",
             quantization="fp8", speculative_method="ngram"),
    ]  # fmt: skip
    code = (
        "import json, sys\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "from vllm.entrypoints.cli.serve import ServeSubcommand\n"
        "parser = FlexibleArgumentParser()\n"
        "ServeSubcommand().subparser_init(parser.add_subparsers())\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    seen = vars(parser.parse_args(words))\n"
        "    print('SEEN' + json.dumps({k: seen[k] for k in seen if isinstance(seen[k], (str, int, list, dict))}))\n"
    )
    at = replace(target(engine_bin, folder, tiny.base), own_cache_dir=None)  # its words alone, none before them
    commands = [vllm.command(plan, at) for plan in plans]
    write_files(commands[0])
    words = json.dumps([list(command.argv[1:]) for command in commands])
    done = subprocess.run(
        [engine_bin / "python", "-c", code, words], env=commands[0].env, capture_output=True, text=True, check=True
    )
    first, second = (json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("SEEN"))
    assert first["api_key"] == [KEY.reveal()]
    assert (first["max_num_seqs"], first["enforce_eager"], first["kv_cache_memory_bytes"]) == (4, False, 64 * MIB)
    assert first["served_model_name"] == ["tiny"]
    assert (second["tensor_parallel_size"], second["quantization"], second["max_model_len"]) == (2, "fp8", 1024)
    assert second["speculative_config"]["method"] == "ngram"


def write_files(command: EngineCommand) -> None:
    for path, content in command.files.items():
        path.write_text(content.reveal())
