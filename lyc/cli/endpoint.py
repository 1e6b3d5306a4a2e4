"""An endpoint as its users see it: OpenAI-compatible HTTP at a URL, with a key. Standard library alone: it is quick."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from lyc.errors import Failed, LycError, NotAuthorised, Unreachable
from lyc.records.secret import Secret

Message = Mapping[str, str]
"""`{"role": "user", "content": "…"}`"""


REFUSED = "request-refused"
"""Ref of the error for a status of 400: with this request the engine can do nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """url: ends in /v1. model: the name that requests carry."""

    url: str
    key: Secret
    model: str

    def chat(
        self, messages: Sequence[Message], *, max_tokens: int | None, temperature: float | None, timeout: float
    ) -> Iterator[str]:
        """Pieces of the answer as they come. timeout: seconds of silence. Closing the iterator ends the generation.

        Raises, at the first piece: Failed `request-refused` when the model has no chat template (or the request is bad
        otherwise), NotAuthorised, Unreachable.
        """
        body = {"messages": list(messages)}
        for choice in self._choices("/chat/completions", body, max_tokens, temperature, timeout):
            delta = choice.get("delta")
            if isinstance(delta, dict):
                # Models that think aloud send that apart; a person at a terminal wants to see something move.
                yield str(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or "")

    def complete(
        self, prompt: str, *, max_tokens: int | None, temperature: float | None, timeout: float
    ) -> Iterator[str]:
        """The same of /v1/completions, for models without a chat template."""
        body = {"prompt": prompt}
        for choice in self._choices("/completions", body, max_tokens, temperature, timeout):
            yield str(choice.get("text") or "")

    def embed(self, text: str, *, timeout: float) -> int:
        """Length of the vector of a text, by /v1/embeddings. Raises as `chat` does."""
        with self._asked("POST", "/embeddings", {"model": self.model, "input": text}, timeout) as response:
            data = json.loads(response.read()).get("data") or [{}]
        return len(data[0].get("embedding") or ())

    def models(self, *, timeout: float) -> list[str]:
        """The names that /v1/models lists. Raises as `chat` does."""
        with self._asked("GET", "/models", None, timeout) as response:
            return [str(model.get("id")) for model in json.loads(response.read()).get("data") or ()]

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout: float
    ) -> Iterator[http.client.HTTPResponse]:
        """One request, its answer checked for status 200."""
        split = urlsplit(self.url)
        kind = http.client.HTTPSConnection if split.scheme == "https" else http.client.HTTPConnection
        headers = {"Authorization": f"Bearer {self.key.reveal()}", "Content-Type": "application/json"}
        with closing(kind(split.hostname or "", split.port, timeout=timeout)) as connection:
            try:
                content = None if body is None else json.dumps(body).encode()
                connection.request(method, split.path + path, content, headers)
                response = connection.getresponse()
                if response.status != 200:
                    raise _refusal(response, self.url)
                yield response
            except (OSError, http.client.HTTPException) as problem:
                raise Unreachable(
                    "endpoint-gone",
                    "the endpoint does not answer",
                    why=str(problem) or type(problem).__name__,
                    where=self.url,
                    hint="lyc ls",
                ) from problem

    def _choices(
        self,
        path: str,
        body: Mapping[str, object],
        max_tokens: int | None,
        temperature: float | None,
        timeout: float,
    ) -> Iterator[dict[str, object]]:
        options = {"max_tokens": max_tokens, "temperature": temperature}
        wish = {"model": self.model, "stream": True, **body, **{k: v for k, v in options.items() if v is not None}}
        with self._asked("POST", path, wish, timeout) as response:
            while line := response.readline():
                if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
                    yield from _choices(data, self.url)


def _choices(data: bytes, url: str) -> list[dict[str, object]]:
    try:
        chunk = json.loads(data)
    except ValueError as problem:
        raise Failed("odd-answer", "the endpoint's stream is not JSON", where=url) from problem
    if not isinstance(chunk, dict):
        return []
    if isinstance(error := chunk.get("error"), dict):
        raise Failed("engine-error", "the engine broke off its answer", why=str(error.get("message", "")), where=url)
    return [choice for choice in chunk.get("choices") or [] if isinstance(choice, dict)]


def _refusal(response: http.client.HTTPResponse, url: str) -> LycError:
    try:
        error = json.loads(response.read()).get("error") or {}
        why = str(error.get("message") or "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        why = ""
    match response.status:
        case 400:
            return Failed(REFUSED, "the engine refused the request", why=why, where=url)
        case 401 | 403:
            return NotAuthorised("key-refused", "the gateway refused the key", why=why, where=url)
        case 404 | 502 | 503 | 504:
            return Unreachable("no-replica", "no replica takes the request", why=why, where=url, hint="lyc ls")
        case status:
            return Failed("engine-error", f"the endpoint answered with status {status}", why=why, where=url)
