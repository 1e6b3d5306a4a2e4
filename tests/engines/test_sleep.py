"""What an engine needs to sleep, and what keeps strangers from letting it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lyc.engines import guard, sleep, vllm
from lyc.engines.versions import pinned
from lyc.records.engine import EngineTarget
from lyc.records.plan import Forecast, Plan
from lyc.records.secret import Secret

GPU = Plan(engine=pinned(on_cpu=False), accelerator="h100", max_model_len=32768, dtype="auto")
AT = EngineTarget(Path("/e/bin"), Path("/r/1"), Path("/m"), Path("/r/1/s"), "support", Secret("k"), sleeps=True)


def test_one_that_can_sleep() -> None:
    command = vllm.command(GPU, AT)
    assert command.argv[-3:] == ("--enable-sleep-mode", "--middleware", "lyc_guard.Guard")
    assert (command.env["VLLM_SERVER_DEV_MODE"], command.env["PYTHONPATH"]) == ("1", "/r/1")
    assert set(command.files) == {Path("/r/1/engine.yaml"), Path("/r/1/lyc_guard.py")}
    assert "Guard" in command.files[Path("/r/1/lyc_guard.py")].reveal()


def test_one_that_cannot_has_nothing_of_it() -> None:
    command = vllm.command(GPU, replace(AT, sleeps=False))
    assert not {"--enable-sleep-mode", "--middleware"} & set(command.argv)
    assert not {"VLLM_SERVER_DEV_MODE", "PYTHONPATH"} & set(command.env)
    assert set(command.files) == {Path("/r/1/engine.yaml")}


@pytest.mark.parametrize("written", ["enable-sleep-mode", "enable_sleep_mode"])
def test_it_is_said_once(written: str) -> None:
    plan = replace(GPU, engine_args={written: "true", "seed": "1"})
    argv = vllm.command(plan, AT).argv
    assert (argv.count("--enable-sleep-mode"), argv.count("--seed=1")) == (1, 1)
    assert "--enable-sleep-mode" in vllm.command(plan, replace(AT, sleeps=False)).argv


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"is_sleeping": true}', True),
        ('{"is_sleeping": false}', False),
        ('{"is_sleeping": "no"}', None),
        ("[]", None),
        ("x", None),
    ],
)
def test_what_it_says_of_itself(answer: str, *, said: bool | None) -> None:
    assert sleep.sleeping(answer) is said


def test_what_it_keeps() -> None:
    graphs = replace(GPU, forecast=Forecast(0, 0, 0, 0, 0.0, cuda_graph=100))
    assert sleep.keeps(graphs) == sleep.keeps(GPU) + 100
    assert sleep.keeps(replace(GPU, accelerator_count=2)) > sleep.keeps(GPU)


def guarded(folder: Path, scope: dict[str, Any]) -> tuple[int | str, list[str]]:
    """(status, paths that came through) of one request, by the guard as it is written beside a configuration."""
    (folder / guard.CONFIG).write_text(json.dumps({"api-key": 'k"ü'}))
    for path, text in sleep.files(folder).items():
        path.write_text(text.reveal())
    loaded = importlib.util.spec_from_file_location("lyc_guard", folder / "lyc_guard.py")
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    through: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        through.append(scope.get("path", scope["type"]))
        await send({"type": "http.response.start", "status": 200})

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        return {}

    asyncio.run(module.Guard(app)({"type": "http", "headers": [], **scope}, receive, send))
    return (sent[0].get("status", sent[0]["type"]) if sent else ""), through


KEY = {"headers": [(b"x", b"y"), (b"Authorization", 'Bearer k"ü'.encode())]}


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_health_needs_no_key(tmp_path: Path, path: str) -> None:
    assert guarded(tmp_path, {"path": path}) == (200, [path])


@pytest.mark.parametrize("path", ["/v1/models", "/sleep", "/wake_up", "/is_sleeping", "/classify"])
def test_all_else_needs_the_key(tmp_path: Path, path: str) -> None:
    assert guarded(tmp_path, {"path": path} | KEY) == (200, [path])
    assert guarded(tmp_path, {"path": path}) == (401, [])
    wrong = {"headers": [(b"authorization", b"Bearer k")]}
    assert guarded(tmp_path, {"path": path} | wrong) == (401, [])


@pytest.mark.parametrize("path", ["/collective_rpc", "/update_weights", "/server_info", "/pause", "/v1", "/healthz"])
def test_what_lyc_does_not_call_is_not_there(tmp_path: Path, path: str) -> None:
    assert guarded(tmp_path, {"path": path} | KEY) == (404, [])
    assert guarded(tmp_path, {"path": path}) == (401, [])


def test_other_kinds_of_scope(tmp_path: Path) -> None:
    assert guarded(tmp_path, {"type": "lifespan"})[1] == ["lifespan"]
    assert guarded(tmp_path, {"type": "websocket", "path": "/v1/realtime"}) == ("websocket.close", [])
    assert guarded(tmp_path, {"type": "websocket", "path": "/v1/realtime"} | KEY)[1] == ["/v1/realtime"]


def test_the_guard_knows_where_the_key_is() -> None:
    assert f"/r/1/{guard.CONFIG}" in vllm.command(GPU, AT).argv
