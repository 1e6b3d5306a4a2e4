"""One real request through the gateway: the proof that an endpoint serves, sent before anybody is told that it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lyc.cli.endpoint import REFUSED, Endpoint
from lyc.errors import Failed, NotAuthorised, NotFound, Unreachable
from lyc.records.secret import Secret

if TYPE_CHECKING:
    from lyc.control.client import ControllerClient
    from lyc.control.documents import DeployResult, NewKeyDocument

CHECK_LABEL = "lyc-deploy-check"
_QUESTION = "Say hello."
_TOKENS = 8
_ANSWER_SECONDS = 120.0
"""Silence that is still believed: a large model on a CPU thinks long about its first token."""
_SETTLE_SECONDS = 15.0
"""A new key or route reaches the gateway a moment after the controller has written it."""
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Proof:
    """kind: `chat`, `completion` where the model has no chat template, `embedding`, `models`.

    seconds: of the request that succeeded.
    """

    kind: str
    answer: str
    seconds: float

    def document(self) -> dict[str, object]:
        return {"kind": self.kind, "answer": self.answer, "seconds": round(self.seconds, 3)}


def prove(connect: Callable[[], ControllerClient], result: DeployResult, key: NewKeyDocument | None) -> Proof:
    """Ask the endpoint something, with `key` or with a key of its own that is gone afterwards.

    Raises Failed `endpoint-not-proven` with the reason.
    """
    if key is not None:
        return _proven(result, Secret(key["key"]))
    with passing_key(connect, result["name"], label=CHECK_LABEL, ttl=300) as secret:
        return _proven(result, secret)


def _proven(result: DeployResult, key: Secret) -> Proof:
    name = result["name"]
    try:
        return _ask(Endpoint(result["url"], key, result["served_name"]), result.get("task"))
    except (Failed, Unreachable, NotAuthorised) as problem:
        raise Failed(
            "endpoint-not-proven",
            f"{name} is deployed, but a request through the gateway failed: {problem.what}",
            why=problem.why,
            where=result["url"],
            hint=f"lyc logs {name}",
        ) from problem


@contextmanager
def passing_key(connect: Callable[[], ControllerClient], name: str, *, label: str, ttl: float) -> Iterator[Secret]:
    """A key that ends with the block, and by itself after `ttl` seconds if this process is killed."""
    from lyc.cli.follow import asked

    key = asked(connect, lambda client: client.create_key(name, label=label, ttl=ttl))
    try:
        yield Secret(key["key"])
    finally:
        with suppress(NotFound, Unreachable):  # gone with its deployment, or soon by itself
            asked(connect, lambda client: client.revoke_key(name, key["id"]))


def _ask(endpoint: Endpoint, task: str | None) -> Proof:
    """One request of the kind that the model is for; of a classifier, whose route is not OpenAI's, its name alone."""
    if task == "embed":
        return _settled("embedding", lambda: iter([f"{endpoint.embed(_QUESTION, timeout=_ANSWER_SECONDS)} dimensions"]))
    if task == "classify":
        return _settled("models", lambda: iter(endpoint.models(timeout=_ANSWER_SECONDS)))
    message = {"role": "user", "content": _QUESTION}
    try:
        return _settled(
            "chat",
            lambda: endpoint.chat([message], max_tokens=_TOKENS, temperature=0.0, timeout=_ANSWER_SECONDS),
        )
    except Failed as problem:
        if problem.ref != REFUSED:
            raise
        return _settled(
            "completion",
            lambda: endpoint.complete(_QUESTION, max_tokens=_TOKENS, temperature=0.0, timeout=_ANSWER_SECONDS),
        )


def _settled(kind: str, ask: Callable[[], Iterator[str]]) -> Proof:
    """The answer, asked for again while the gateway does not know the key or the route yet."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        began = time.monotonic()
        try:
            return Proof(kind, "".join(ask()), time.monotonic() - began)
        except (NotAuthorised, Unreachable):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
