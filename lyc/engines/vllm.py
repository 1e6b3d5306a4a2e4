"""A plan as a command of vLLM, for CUDA and for the CPU; how to ask an engine whether it is well; what it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lyc.engines import compiled, guard, options, sleep
from lyc.engines.progress import progress
from lyc.engines.speculative import vllm_config
from lyc.errors import Bug
from lyc.records.engine import EngineCommand, EngineTarget
from lyc.records.plan import Plan
from lyc.records.process import PORT
from lyc.records.secret import Secret

__all__ = ["command", "probe_request", "progress"]

HEALTH_PATH = "/health"
"""Answers 200 without a key as soon as the engine listens; says nothing of whether a completion works."""
METRICS_PATH = "/metrics"
SHUTDOWN_SECONDS = 10
"""How long vLLM itself waits for requests after SIGTERM. The gateway has drained the replica before, so this is for
the rest only; whoever stops the process should grant about 15 s more before it kills the group."""

TTFT_SECONDS = "vllm:time_to_first_token_seconds"
DRAFTED_TOKENS = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED_TOKENS = "vllm:spec_decode_num_accepted_tokens_total"

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INHERITED = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE",
    "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
)  # fmt: skip
"""What an engine may know of the environment of whoever starts it. Never credentials: it has no need of any."""


def command(plan: Plan, target: EngineTarget, environ: Mapping[str, str] | None = None) -> EngineCommand:
    """How to run `plan` at `target`. The command's env is complete: it is to replace the starter's, not to extend it.

    environ: the environment of whoever starts the engine; only a few harmless names are taken from it. The engine's
    key goes into a file that only `--config` names, so it is in no argv, no env and no log (vLLM masks it there).
    """
    if target.key.reveal().startswith("-"):
        raise Bug("engine-key-like-a-flag", "the engine's key begins with a dash", why="vLLM would read it as a flag")
    config = target.work_dir / guard.CONFIG
    argv = [
        str(target.bin_dir / "vllm") if target.bin_dir else "vllm",
        *("serve", str(target.model_path)),
        *(("--uds", str(target.socket)) if target.socket else ("--host", "127.0.0.1", "--port", PORT)),
        *("--served-model-name", target.served_name),
        *("--config", str(config)),
        *("--shutdown-timeout", str(SHUTDOWN_SECONDS)),
        "--enable-force-include-usage",
        *("--disable-access-log-for-endpoints", f"{HEALTH_PATH},{METRICS_PATH}"),  # asked every second by the gateway
        *_planned(plan, target),
        *(sleep.words() if target.sleeps else ()),
        *options.words(_without_sleep(plan.engine_args) if target.sleeps else plan.engine_args),
    ]
    env, files = _environment(plan, target, environ or {}), _files(target)
    if target.sleeps:
        env, files = env | sleep.environment(target.work_dir), files | sleep.files(target.work_dir)
    if target.cache_dir is not None and target.own_cache_dir is not None:
        argv = compiled.linked(target.cache_dir, argv)
    return EngineCommand(argv=tuple(argv), env=env, files=files)


def probe_request(served_name: str, task: str = "generate") -> tuple[str, dict[str, object]]:
    """(path, JSON body) of the one real request that proves a replica. task: see `lyc.engines.architectures.task`.

    Two tokens, because the second is the first that a decode step (and a draft model) makes.
    """
    if task == "embed":
        return "/v1/embeddings", {"model": served_name, "input": "1"}
    if task == "classify":
        return "/classify", {"model": served_name, "input": "1"}
    body: dict[str, object] = {"model": served_name, "prompt": "1", "max_tokens": 2, "ignore_eos": True}
    return "/v1/completions", body | {"temperature": 0, "stream": False}


def _files(target: EngineTarget) -> dict[Path, Secret]:
    # JSON is YAML, and quotes whatever the key may hold.
    return {target.work_dir / guard.CONFIG: Secret(json.dumps({"api-key": target.key.reveal()}) + "\n")}


def _without_sleep(engine_args: Mapping[str, str]) -> dict[str, str]:
    """Those of the user, but the one that lyc gives itself."""
    return {name: value for name, value in engine_args.items() if options.canonical(name) != "enable-sleep-mode"}


def _planned(plan: Plan, target: EngineTarget) -> list[str]:
    given = {options.canonical(name) for name in plan.engine_args}
    argv: list[str] = []
    if plan.max_model_len is not None:
        argv += ["--max-model-len", str(plan.max_model_len)]
    if plan.task != "generate" and "runner" not in given:
        argv += ["--runner", "pooling"]  # some architectures can do both, and vLLM would rather write
    if plan.dtype is not None and "dtype" not in given:
        argv += ["--dtype", plan.dtype]
    if plan.quantization is not None:
        argv += ["--quantization", plan.quantization]
    if plan.kv_cache_bytes is not None and "kv-cache-memory-bytes" not in given:
        argv += ["--kv-cache-memory-bytes", str(plan.kv_cache_bytes)]
    if plan.enforce_eager and "enforce-eager" not in given:
        argv.append("--enforce-eager")
    if plan.tensor_parallel > 1 and "tensor-parallel-size" not in given:
        argv += ["--tensor-parallel-size", str(plan.tensor_parallel)]
    if plan.speculative_method is not None:
        draft = str(target.draft_path) if target.draft_path else plan.speculative_model
        wish = vllm_config(plan.speculative_method, draft, plan.speculative_tokens)
        argv += ["--speculative-config", json.dumps(wish, sort_keys=True)]
    return argv


def _environment(plan: Plan, target: EngineTarget, environ: Mapping[str, str]) -> dict[str, str]:
    cache = target.cache_dir or target.work_dir / "cache"
    env = {name: environ[name] for name in _INHERITED if name in environ}
    if target.bin_dir is not None:
        env["PATH"] = f"{target.bin_dir}:{environ.get('PATH') or _DEFAULT_PATH}"
        env["VIRTUAL_ENV"] = str(target.bin_dir.parent)
    env |= {
        "PYTHONUNBUFFERED": "1",  # the log is read while the engine starts
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(cache / "huggingface"),  # never the user's own, which holds a token
        "VLLM_CACHE_ROOT": str(target.own_cache_dir or cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm-config"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        # One machine: its processes need no other address, and may have no other.
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_COLOR": "0",
    }
    if plan.engine.on_cpu and plan.enforce_eager:
        # Eager or not, vLLM compiles what ranks logprobs: the first request for them waits for a C++ compiler, and on
        # a machine without one it kills the engine.
        env["TORCHDYNAMO_DISABLE"] = "1"
    if plan.engine.on_cpu:
        env["VLLM_USE_AOT_COMPILE"] = "0"  # its cache is never found again on a CPU: 156 s instead of 74 s to start
    return env | plan.env
