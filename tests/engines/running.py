"""A real vLLM, started exactly as lyc would start it, for as long as a `with` block."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from lyc.engines import vllm
from lyc.engines.versions import pinned
from lyc.records.engine import EngineCommand, EngineTarget
from lyc.records.plan import Plan
from lyc.records.secret import Secret
from lyc.spec.settings import load

KEY = Secret("sk-test-of-the-engine-itself")
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""A start of 15 to 20 s instead of 30 to 40. For tests that are not about processes."""
START_SECONDS = 240.0


@dataclass(frozen=True)
class Running:
    """An engine that listens."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path
    name: str

    def complete(self, prompt: str = "1, 2, 3, 4, 5, 6, 7,", tokens: int = 24) -> str:
        """A completion at temperature 0; raises with the engine's answer when it is not 200."""
        body = {"model": self.name, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        answer = self.client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text + "\n" + self.tail()
        document = answer.json()
        assert document["usage"]["completion_tokens"] == tokens
        return str(document["choices"][0]["text"])

    def metrics(self) -> str:
        return self.client.get(vllm.METRICS_PATH).text

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def target(bin_dir: Path, folder: Path, model: Path, draft: Path | None = None) -> EngineTarget:
    """A replica whose files are all in `folder`, the socket too, so the path must be short; but for what every engine
    on this machine may use again, which makes each start but the first one shorter by half.
    """
    return EngineTarget(
        bin_dir=bin_dir,
        work_dir=folder,
        model_path=model,
        socket=folder / "s",
        served_name="tiny",
        key=KEY,
        draft_path=draft,
        cache_dir=load(os.environ).cache / "compiled" / pinned(on_cpu=True).id,
        own_cache_dir=folder / "cache",
    )


def spawn(command: EngineCommand, log: Path) -> subprocess.Popen[bytes]:
    for path, content in command.files.items():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(content.reveal())
    with log.open("wb") as output:
        return subprocess.Popen(
            command.argv, env=command.env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, cwd=log.parent,
        )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    """The whole group, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running(plan: Plan, at: EngineTarget, *, one_process: bool = True) -> Iterator[Running]:
    """The engine of `plan`, healthy; killed afterwards with all its processes."""
    if one_process:
        plan = replace(plan, env=ONE_PROCESS | plan.env)
    log = at.work_dir / "log"
    process = spawn(vllm.command(plan, at, os.environ), log)
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=str(at.socket)),
        base_url="http://engine",
        headers={"authorization": f"Bearer {at.key.reveal()}"},
        timeout=120,
    )
    engine = Running(process, client, log, at.served_name)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(client):
            assert process.poll() is None, f"the engine ended with {process.returncode}\n{engine.tail()}"
            assert time.monotonic() < deadline, f"not healthy within {START_SECONDS} s\n{engine.tail()}"
            time.sleep(0.1)
        yield engine
    finally:
        client.close()
        end(process)


def failed_start(plan: Plan, at: EngineTarget, *, one_process: bool = True) -> tuple[list[str], int]:
    """(log, exit code) of a start that must fail."""
    if one_process:
        plan = replace(plan, env=ONE_PROCESS | plan.env)
    log = at.work_dir / "log"
    process = spawn(vllm.command(plan, at, os.environ), log)
    try:
        code = process.wait(START_SECONDS)
    finally:
        end(process)
    return log.read_text(errors="replace").splitlines(), code


def _healthy(client: httpx.Client) -> bool:
    try:
        return client.get(vllm.HEALTH_PATH).status_code == 200
    except httpx.TransportError:
        return False
