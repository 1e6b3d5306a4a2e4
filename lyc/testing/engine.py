"""An engine stand-in: a real server process that speaks as vLLM does, without weights.

    python -m lyc.testing.engine --uds /run/e.sock --api-key-file key [--load-delay 2] [--interval 0.02] …

It has vLLM's paths (`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`, `/v1/audio/speech` for
bytes that are no text, `/health`, `/version`, `/metrics`, `/v1/load_lora_adapter`), its key check (under `/v1` only),
its order at the start (bind, load, listen), with `--developer` the routes of its sleep mode, and its faults. A word
is a token; streams are paced.

`GET /stand-in` says what has happened to it (requests, aborts and when, the last request as it arrived);
`POST /stand-in` with any of the fields of `Behaviour` changes what it does from the next request on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lyc.testing import answers, http1


@dataclass(slots=True)
class Behaviour:
    """What it does. Times in seconds.

    interval: between two pieces of a stream. ttft: before the first. health: status of /health.
    answer: status of everything under /v1 (200 = really answer). hang: take requests and never answer. stuck: the same
    under /v1 only, while health and metrics say that all is well.
    reset: close the connection instead of answering. cut_after: pieces after which a stream is cut, 0 = never.
    force_usage: as vLLM's --enable-force-include-usage. sleep_delay, wake_delay: of /sleep and /wake_up, which
    answer 500 and do nothing with `insomnia`. While it sleeps, requests wait.
    """

    interval: float = 0.0
    ttft: float = 0.0
    health: int = 200
    answer: int = 200
    hang: bool = False
    stuck: bool = False
    reset: bool = False
    cut_after: int = 0
    force_usage: bool = True
    sleep_delay: float = 0.0
    wake_delay: float = 0.0
    insomnia: bool = False


@dataclass(slots=True)
class Seen:
    """What has happened. last_abort: seconds on the machine's monotonic clock; the bodies only as size and SHA-256."""

    requests: int = 0
    finished: int = 0
    aborted: int = 0
    running: int = 0
    unauthorised: int = 0
    administered: int = 0
    health_checks: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    last_abort: float | None = None
    last_target: str = ""
    last_headers: dict[str, str] = field(default_factory=dict)
    last_body_size: int = 0
    last_body_sha256: str = ""
    sleeping: bool = False
    sleeps: int = 0
    wakes: int = 0


class Engine:
    """Answers requests by its behaviour and keeps count."""

    def __init__(
        self, model: str, key: str | None, behaviour: Behaviour, name: str = "", *, developer: bool = False
    ) -> None:
        self.model, self.behaviour, self.seen, self._key, self._name = model, behaviour, Seen(), key, name
        self._developer = developer
        self._awake = asyncio.Event()
        self._awake.set()

    async def handle(self, exchange: http1.Exchange) -> None:
        request = exchange.request
        if request.path == "/stand-in":
            return await self._stand_in(exchange)
        if self.behaviour.hang:
            await asyncio.Event().wait()
        if request.path == "/health":
            self.seen.health_checks += 1
            return await exchange.reply(self.behaviour.health, b"", "text/plain")
        if request.path == "/metrics":
            return await exchange.reply(200, self._metrics().encode(), "text/plain; version=0.0.4")
        if request.path == "/version":
            return await exchange.reply_json(200, {"version": "stand-in"})
        if self._developer and request.path in ("/sleep", "/wake_up", "/is_sleeping"):
            return await self._sleep_mode(exchange)
        if not request.path.startswith("/v1/"):
            return await exchange.reply_json(404, {"detail": "Not Found"})
        if self._key is not None and not hmac.compare_digest(
            request.headers.get("authorization", ""), f"Bearer {self._key}"
        ):
            self.seen.unauthorised += 1
            return await exchange.reply_json(401, {"error": "Unauthorized"})
        return await self._counted(exchange)

    async def _counted(self, exchange: http1.Exchange) -> None:
        seen, request = self.seen, exchange.request
        seen.requests += 1
        seen.running += 1
        seen.last_target, seen.last_headers = request.target, request.headers
        seen.last_body_size, seen.last_body_sha256 = len(request.body), hashlib.sha256(request.body).hexdigest()
        try:
            await self._awake.wait()
            if self.behaviour.stuck:
                await asyncio.Event().wait()
            await self._answer(exchange)
            seen.finished += 1
        except asyncio.CancelledError:
            seen.aborted += 1
            seen.last_abort = asyncio.get_running_loop().time()
            raise
        finally:
            seen.running -= 1

    async def _sleep_mode(self, exchange: http1.Exchange) -> None:
        behaviour, seen, path = self.behaviour, self.seen, exchange.request.path
        if path == "/is_sleeping":
            return await exchange.reply_json(200, {"is_sleeping": seen.sleeping})
        if behaviour.insomnia:
            return await exchange.reply_json(500, {"error": "told to fail"})
        if path == "/sleep":
            await asyncio.sleep(behaviour.sleep_delay)
            seen.sleeps += 1
            seen.sleeping = True
            self._awake.clear()
            return await exchange.reply_json(200, {"status": "sleeping", "level": 1})
        await asyncio.sleep(behaviour.wake_delay)
        seen.wakes += 1
        seen.sleeping = False
        self._awake.set()
        return await exchange.reply_json(200, {"status": "awake", "tags": None})

    async def _answer(self, exchange: http1.Exchange) -> None:
        behaviour, request = self.behaviour, exchange.request
        if behaviour.reset:
            return exchange.cut()
        if behaviour.answer != 200:
            text = answers.error(behaviour.answer, "told to fail", "ServiceUnavailableError")
            return await exchange.reply(behaviour.answer, text)
        if behaviour.ttft:
            await asyncio.sleep(behaviour.ttft)
        if request.path == "/v1/models":
            card = {"id": self.model, "object": "model", "created": answers.CREATED, "owned_by": "vllm"}
            return await exchange.reply_json(200, {"object": "list", "data": [card]})
        if request.path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            self.seen.administered += 1
            return await exchange.reply(200, b"Success", "text/plain")
        try:
            body = json.loads(request.body) if request.method == "POST" else None
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return await exchange.reply(400, answers.error(400, "the body is not a JSON object", "BadRequestError"))
        return await self._generate(exchange, body)

    async def _generate(self, exchange: http1.Exchange, body: answers.Json) -> None:
        request, raw = exchange.request, exchange.request.body
        tokens = body.get("max_tokens", body.get("max_completion_tokens", 16))
        if not isinstance(tokens, int) or tokens < 1:
            return await exchange.reply(400, answers.error(400, "max_tokens must be at least 1", "BadRequestError"))
        chat_shape = request.path == "/v1/chat/completions"
        if request.path == "/v1/embeddings":
            return await self._whole(exchange, answers.embeddings(body, raw, self.model), body, 0)
        if request.path == "/v1/audio/speech":
            return await self._speech(exchange, tokens)
        if not chat_shape and request.path != "/v1/completions":
            return await exchange.reply_json(404, {"detail": "Not Found"})
        if body.get("stream"):
            return await self._stream(exchange, body, tokens, chat_shape=chat_shape)
        await asyncio.sleep(self.behaviour.interval * tokens)
        make = answers.chat if chat_shape else answers.completion
        return await self._whole(exchange, make(body, raw, self.model, tokens), body, tokens)

    async def _whole(self, exchange: http1.Exchange, answer: object, body: answers.Json, tokens: int) -> None:
        self.seen.prompt_tokens += answers.prompt_tokens(body)
        self.seen.generation_tokens += tokens
        await exchange.reply_json(200, answer)

    async def _stream(self, exchange: http1.Exchange, body: answers.Json, tokens: int, *, chat_shape: bool) -> None:
        behaviour = self.behaviour
        self.seen.prompt_tokens += answers.prompt_tokens(body)
        exchange.begin(200, "text/event-stream; charset=utf-8")
        events = answers.events(
            body, exchange.request.body, self.model, tokens, chat_shape=chat_shape, force_usage=behaviour.force_usage
        )
        for count, event in enumerate(events):
            if behaviour.cut_after and count >= behaviour.cut_after:
                return exchange.cut()
            if count and behaviour.interval:
                await asyncio.sleep(behaviour.interval)
            self.seen.generation_tokens += 1
            await exchange.piece(event)
        await exchange.end()
        return None

    async def _speech(self, exchange: http1.Exchange, pieces: int) -> None:
        exchange.begin(200, "audio/wav")
        for at in range(pieces):
            await exchange.piece(bytes((at + byte) % 256 for byte in range(256)) * 16)
        await exchange.end()

    async def _stand_in(self, exchange: http1.Exchange) -> None:
        if exchange.request.method == "POST":
            try:
                self.behaviour = dataclasses.replace(self.behaviour, **json.loads(exchange.request.body))
            except (TypeError, ValueError) as error:
                return await exchange.reply(400, answers.error(400, str(error), "BadRequestError"))
        state = {
            "name": self._name,
            "pid": os.getpid(),
            "now": asyncio.get_running_loop().time(),
            **dataclasses.asdict(self.seen),
        }
        return await exchange.reply_json(200, {**state, "behaviour": dataclasses.asdict(self.behaviour)})

    def _metrics(self) -> str:
        seen = self.seen
        gauges = {
            "vllm:num_requests_running": seen.running,
            "vllm:num_requests_waiting": 0,
            "vllm:kv_cache_usage_perc": min(1.0, seen.running / 100),
        }
        counters = {
            "vllm:prompt_tokens_total": seen.prompt_tokens,
            "vllm:generation_tokens_total": seen.generation_tokens,
            "vllm:request_success_total": seen.finished,
        }
        label = f'{{engine="0",model_name="{self.model}"}}'
        kinds = [(name, "gauge", value) for name, value in gauges.items()]
        kinds += [(name, "counter", value) for name, value in counters.items()]
        return "".join(f"# TYPE {name} {kind}\n{name}{label} {float(value)}\n" for name, kind, value in kinds)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lyc.testing.engine", description="an engine without weights")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", type=Path, help="unix socket to listen on")
    where.add_argument("--port", type=int, help="port on 127.0.0.1 to listen on, 0 = any (printed)")
    parser.add_argument("--api-key-file", type=Path, help="file that holds the engine's key")
    parser.add_argument("--served-model-name", default="stand-in")
    parser.add_argument("--name", default="", help="shown by /stand-in, to tell several apart")
    parser.add_argument("--load-delay", type=float, default=0.0, help="seconds between bind and listen")
    parser.add_argument("--developer", action="store_true", help="can sleep, by routes that need no key")
    parser.add_argument("--accept-only", action="store_true", help="listen, take connections, never read")
    parser.add_argument("--behaviour", type=json.loads, default={}, help="fields of Behaviour as a JSON object")
    return parser.parse_args(argv)


def _bind(arguments: argparse.Namespace) -> socket.socket:
    if arguments.uds:
        with contextlib.suppress(FileNotFoundError):
            arguments.uds.unlink()
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(arguments.uds))
    else:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", arguments.port))
    return bound


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, then leave at once, cutting what runs (as vLLM does)."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bound = _bind(arguments)
    key = arguments.api_key_file.read_text().strip() if arguments.api_key_file else None
    engine = Engine(
        arguments.served_model_name, key, Behaviour(**arguments.behaviour), arguments.name,
        developer=arguments.developer,
    )  # fmt: skip
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), arguments.load_delay)
    if stop.is_set():
        return
    if arguments.accept_only:
        bound.listen(2048)
    else:
        await http1.serve(engine.handle, bound)
    sys.stderr.write(f"stand-in listens on {arguments.uds or bound.getsockname()[1]}\n")
    sys.stderr.flush()
    await stop.wait()


def main(argv: Sequence[str] | None = None) -> None:
    asyncio.run(run(_arguments(argv)))


if __name__ == "__main__":
    main()
