"""What the activator reads of a request, and the answers that it writes."""

from __future__ import annotations

import json
import math

from lyc.gateway.exchange import Exchange
from lyc.gateway.front import ARRIVED, FINAL, REQUEST, RETRY_IN, TRY, WAKE_TIMEOUT
from lyc.gateway.verdict import Asked, Refuse, Replay

_HANDED_BACK = Refuse(503, "replica_lost", "A replica was ready and is lost again; try again.", retry_after=1)


def request_of(exchange: Exchange) -> str:
    """The same at every try."""
    return exchange.headers.get(REQUEST, "")


def attempt_of(exchange: Exchange) -> int:
    """Which of the gateway's tries this is, from 1."""
    return max(1, int(_number(exchange.headers.get(TRY), 1)))


def asked_by(exchange: Exchange, deployment: str, tries: int, now: float, epoch: float) -> Asked | Refuse:
    """now: of the machine's monotonic clock; epoch: the time of day."""
    patience = _patience(exchange.headers.get(WAKE_TIMEOUT))
    if isinstance(patience, Refuse):
        return patience
    before = max(0.0, epoch - _number(exchange.headers.get(ARRIVED), epoch))
    return Asked(deployment, exchange.size, now, now - before, patience, tries)


async def answer(exchange: Exchange, verdict: Replay | Refuse) -> None:
    """Tell Envoy to send the request to a replica, or its caller what is the matter."""
    refusal = _HANDED_BACK if isinstance(verdict, Replay) else verdict
    headers = [("content-type", "application/json")]
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(refusal.retry_after)))
    if refusal.expected is not None:
        headers.append(("x-lyc-expected", str(math.ceil(refusal.expected))))
    if refusal.again is not None:
        headers.append((RETRY_IN, str(refusal.again)))
    elif refusal is not _HANDED_BACK:
        headers.append((FINAL, "true"))
    await exchange.reply(refusal.status, headers, json.dumps(document(refusal), separators=(",", ":")).encode())


def document(refusal: Refuse) -> dict[str, object]:
    """The error in OpenAI's shape."""
    return {
        "error": {"message": refusal.message, "type": refusal.kind, "param": None, "code": refusal.code},
    }


def _patience(wish: str | None) -> float | Refuse | None:
    if wish is None:
        return None
    seconds = _number(wish, -1.0)
    if 0 <= seconds < math.inf:
        return seconds
    message = "X-Lyc-Wake-Timeout must be a number of seconds: 0 = do not wait."
    return Refuse(400, "invalid_wake_timeout", message, "invalid_request_error", retry_after=None)


def _number(text: str | None, default: float) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return default
    return number if math.isfinite(number) else default
