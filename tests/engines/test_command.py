"""A plan as argv, env and files."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lyc.engines import compiled, vllm
from lyc.engines.architectures import task
from lyc.engines.versions import pinned
from lyc.errors import Bug
from lyc.records.engine import EngineTarget
from lyc.records.model import ModelFacts
from lyc.records.plan import Plan
from lyc.records.secret import Secret

AT = EngineTarget(
    bin_dir=Path("/engines/e/bin"),
    work_dir=Path("/r/1"),
    model_path=Path("/models/m"),
    socket=Path("/r/1/s"),
    served_name="support",
    key=Secret('sk-"quoted": yes'),
)
CPU = Plan(
    engine=pinned(on_cpu=True), accelerator="cpu", max_model_len=4096, kv_cache_bytes=1 << 30, dtype="auto",
    enforce_eager=True,
)  # fmt: skip
GPU = Plan(
    engine=pinned(on_cpu=False),
    accelerator="h100",
    accelerator_count=2,
    tensor_parallel=2,
    max_model_len=32768,
    dtype="auto",
)


def test_a_plan_for_the_cpu() -> None:
    assert vllm.command(CPU, AT).argv == (
        "/engines/e/bin/vllm", "serve", "/models/m", "--uds", "/r/1/s", "--served-model-name", "support",
        "--config", "/r/1/engine.yaml", "--shutdown-timeout", "10", "--enable-force-include-usage",
        "--disable-access-log-for-endpoints", "/health,/metrics",
        "--max-model-len", "4096", "--dtype", "auto", "--kv-cache-memory-bytes", "1073741824", "--enforce-eager",
    )  # fmt: skip


def test_a_plan_for_gpus() -> None:
    argv = vllm.command(GPU, AT).argv
    assert argv[-2:] == ("--tensor-parallel-size", "2")
    assert "--enforce-eager" not in argv
    assert "VLLM_USE_AOT_COMPILE" not in vllm.command(GPU, AT).env


def test_quantization_and_draft() -> None:
    plan = replace(CPU, quantization="fp8", speculative_method="eagle3", speculative_tokens=2)
    argv = vllm.command(plan, replace(AT, draft_path=Path("/models/d"))).argv
    assert argv[argv.index("--quantization") + 1] == "fp8"
    assert json.loads(argv[argv.index("--speculative-config") + 1]) == {
        "method": "eagle3", "model": "/models/d", "num_speculative_tokens": 2,
    }  # fmt: skip


def test_what_the_user_says_wins_and_comes_once() -> None:
    plan = replace(CPU, engine_args={"dtype": "float32", "enforce_eager": "false", "kv-cache-memory-bytes": "5"})
    argv = vllm.command(plan, AT).argv
    assert argv[-3:] == ("--dtype=float32", "--no-enforce-eager", "--kv-cache-memory-bytes=5")
    assert not {"--dtype", "--enforce-eager", "--kv-cache-memory-bytes"} & set(argv)


def test_the_key_is_in_the_file_and_nowhere_else() -> None:
    command = vllm.command(CPU, AT, {"PATH": "/bin", "HOME": "/h"})
    assert AT.key.reveal() not in repr(command)
    assert not any(AT.key.reveal() in word for word in (*command.argv, *command.env.values()))
    (path,) = command.files
    assert str(path) in command.argv
    # vLLM reads it as YAML, of which JSON is a part.
    assert json.loads(command.files[path].reveal()) == {"api-key": 'sk-"quoted": yes'}


def test_a_key_that_vllm_would_take_for_a_flag() -> None:
    with pytest.raises(Bug):
        vllm.command(CPU, replace(AT, key=Secret("-x")))


def test_the_environment_is_whole_and_lets_no_secret_in() -> None:
    starter = {
        "PATH": "/usr/bin", "HOME": "/h", "HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "VLLM_API_KEY": "k",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/p", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    env = vllm.command(replace(CPU, env={"OMP_NUM_THREADS": "3"}), AT, starter).env
    assert env["PATH"] == "/engines/e/bin:/usr/bin"
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["CUDA_VISIBLE_DEVICES"] == "1"
    assert (env["HF_HUB_OFFLINE"], env["TRANSFORMERS_OFFLINE"], env["VLLM_NO_USAGE_STATS"]) == ("1", "1", "1")
    assert env["DO_NOT_TRACK"] == "1"
    assert set(starter) & set(env) == {"PATH", "HOME", "CUDA_VISIBLE_DEVICES"}


def test_nothing_is_compiled_where_the_plan_says_eager() -> None:
    """A machine may have no C++ compiler, and the first request for logprobs would kill the engine."""
    assert vllm.command(CPU, AT).env["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in vllm.command(replace(CPU, enforce_eager=False), AT).env
    assert "TORCHDYNAMO_DISABLE" not in vllm.command(GPU, AT).env


def test_what_is_compiled_is_kept_where_the_target_says() -> None:
    assert vllm.command(CPU, AT).env["VLLM_CACHE_ROOT"] == "/r/1/cache/vllm"
    assert vllm.command(CPU, replace(AT, cache_dir=Path("/c"))).env["VLLM_CACHE_ROOT"] == "/c/vllm"


def test_what_one_model_alone_can_use_lies_apart() -> None:
    """Compiled graphs go with the weights they are for; kernels serve the next fine-tune of the same base."""
    shared = Path("/c/vllm-0.32.0")
    own = compiled.folder(shared, "sha256:" + "ab" * 32, replace(GPU, accelerator="NVIDIA H100 80GB"))
    assert own == shared / "for" / f"{'ab' * 8}-nvidia-h100-80gb"
    command = vllm.command(GPU, replace(AT, cache_dir=shared, own_cache_dir=own))
    assert command.argv[:2] == ("/bin/sh", "-c")
    assert command.argv[3:] == (str(shared), *vllm.command(GPU, AT).argv), "what it becomes"
    env = command.env
    assert env["VLLM_CACHE_ROOT"] == str(own)
    assert env["TRITON_CACHE_DIR"] == str(shared / "triton")
    assert compiled.folder(shared, "sha256:" + "cd" * 32, GPU) != compiled.folder(shared, "sha256:" + "ab" * 32, GPU)
    assert compiled.folder(shared, "sha256:" + "ab" * 32, CPU) != compiled.folder(shared, "sha256:" + "ab" * 32, GPU)


def test_notes_on_model_classes_are_those_of_all_weights(tmp_path: Path) -> None:
    """Of a folder that is there already, of one where nothing can be made, and with a word that a shell would split."""
    shared = tmp_path / "of all"
    show = ["/bin/sh", "-c", 'readlink "$VLLM_CACHE_ROOT/modelinfos"; echo "$1"', "show", "a  b"]

    def shown(own: Path) -> list[str]:
        env = {"VLLM_CACHE_ROOT": str(own), "PATH": os.defpath}
        done = subprocess.run(compiled.linked(shared, show), env=env, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.splitlines()

    linked = [str(shared / "modelinfos"), "a  b"]
    assert shown(tmp_path / "own") == shown(tmp_path / "own") == linked
    (shared / "modelinfos" / "one.json").write_text("{}")
    assert shown(tmp_path / "second") == linked
    assert (tmp_path / "second" / "modelinfos" / "one.json").exists()
    (tmp_path / "had" / "modelinfos").mkdir(parents=True)
    assert shown(tmp_path / "had") == ["a  b"], "as it was"
    assert shown(Path("/proc/nothing")) == ["a  b"]


def test_the_probe_is_a_real_request_of_the_models_own_kind() -> None:
    path, body = vllm.probe_request("n", task(ModelFacts(("LlamaForCausalLM",))))
    assert (path, body["model"], body["max_tokens"]) == ("/v1/completions", "n", 2)
    assert vllm.probe_request("n")[0] == "/v1/completions"
    assert vllm.probe_request("n", task(ModelFacts(("BertModel",))))[0] == "/v1/embeddings"
