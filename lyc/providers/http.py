"""JSON over HTTP as providers speak it, and their failures in our words.

What only reads is asked again when the provider is busy or stumbles; what changes something never is, unless the caller
says that doing it twice is the same as once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx

from lyc.errors import Failed, LycError, NotAuthorised, Unreachable
from lyc.records.secret import MASK, Secret

TRIES = 4
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds. A provider that asks for a longer one is told of as busy."""
_DETAIL = 300
_SECRET = 6
"""Letters from which on a value of a header is taken for a secret."""


class Refused(Exception):
    """An answer of 4xx that is the provider package's own to translate. body: decoded JSON, or text."""

    def __init__(self, status: int, body: object, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.body = body
        self.text = text


def _client_error(status: int) -> bool:
    return 400 <= status < 500 and status not in (401, 403, 429)


class Api:
    """Calls of one provider. title: as errors name it; name: as `--provider` takes it.

    headers: called for each request, so that a token may be renewed. pause: waits so many seconds. hidden: texts that
    are masked in whatever the provider says, as are the values of those headers: some echo what they were sent.
    """

    def __init__(
        self,
        base: str,
        *,
        title: str,
        name: str,
        headers: Callable[[], Mapping[str, str]],
        timeout: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
        hidden: Sequence[Secret] = (),
    ) -> None:
        self._hidden = tuple(hidden)
        self._title = title
        self._name = name
        self._headers = headers
        self._pause = pause
        self._client = httpx.Client(
            base_url=base,
            timeout=httpx.Timeout(timeout, connect=10.0),
            follow_redirects=False,
            # Certificates take 60 ms to load, and there is none to check where there is no TLS.
            verify=not base.startswith("http://"),
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, *, params: Mapping[str, Any] | None = None) -> Any:
        """The decoded answer; asked again on trouble that may pass. Raises Refused for 4xx but 401, 403 and 429."""
        return self.call("GET", path, params=params, again=True)

    def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, Any] | None = None,
        again: bool = False,
        timeout: float | None = None,
        refused: Callable[[int], bool] = _client_error,
        body: str | None = None,
        text: bool = False,
        heard: Callable[[Mapping[str, str]], None] | None = None,
    ) -> Any:
        """One call: decoded JSON, None for an empty answer.

        again: doing it twice is as once, so it may be repeated. refused: statuses that the caller translates itself,
        which it gets as Refused. body: sent as plain text, in place of `json`. text: an answer that is no JSON is
        returned as it is. heard: gets the headers of a good answer. Raises what `lyc.ports.Provider` says.
        """
        pause = FIRST_PAUSE
        for left in range(TRIES - 1, -1, -1):
            try:
                sent = {"json": json, "params": params, "content": body}
                answer = self._once(method, path, sent, timeout=timeout, refused=refused)
                if heard is not None:
                    heard(answer.headers)
                return self._read(answer, path, text=text)
            except _Passing as trouble:
                wait = pause if trouble.after is None else trouble.after
                # A request that was turned away for being one too many has done nothing: it may always be repeated.
                if not left or wait > LONGEST_PAUSE or not (again or trouble.untouched):
                    raise trouble.error from trouble.__cause__
                self._pause(wait)
                pause *= 2
        raise AssertionError("unreachable")

    def odd(self, path: str, why: str) -> Failed:
        """`provider-odd-answer`: for an answer that lacks what the documents promise."""
        return Failed("provider-odd-answer", f"{self._title} answers what lyc does not understand", why=why, where=path)

    def refusal(self, error: Refused, path: str) -> Failed:
        """`provider-refused`: for a Refused of which nothing better is known."""
        why = f"{error.status}: {error.text}"
        return Failed("provider-refused", f"{self._title} refuses the request", why=why, where=path)

    def unreachable(self, why: str) -> Unreachable:
        """`provider-unreachable`: for an answer of 5xx that the caller wished to see first."""
        hint = f"lyc providers check {self._name}"
        return Unreachable("provider-unreachable", f"{self._title} does not answer", why=why, hint=hint)

    def denied(self, why: str, path: str) -> NotAuthorised:
        """`provider-denied`: the credential is wrong, expired, or allows too little."""
        what, hint = f"{self._title} does not accept the credential", f"lyc providers check {self._name}"
        return NotAuthorised("provider-denied", what, why=why, where=path, hint=hint)

    def _once(
        self,
        method: str,
        path: str,
        sent: Mapping[str, Any],
        *,
        timeout: float | None,
        refused: Callable[[int], bool],
    ) -> httpx.Response:
        span = httpx.USE_CLIENT_DEFAULT if timeout is None else httpx.Timeout(timeout, connect=10.0)
        try:
            headers = dict(self._headers())
            told = _Told(headers.values(), self._hidden)
            kind = {} if sent["content"] is None else {"content-type": "text/plain"}
            answer = self._client.request(method, path, headers=headers | kind, timeout=span, **sent)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Passing(self.unreachable(type(error).__name__), untouched=True) from error
        except httpx.TransportError as error:
            raise _Passing(self.unreachable(type(error).__name__)) from error
        status = answer.status_code
        if refused(status):
            raise Refused(status, _decoded(answer), told(answer))
        if status in (401, 403):
            raise self.denied(f"it answers {status} {told(answer)}".strip(), path)
        if status == 429:
            busy = Unreachable("provider-busy", f"{self._title} asks to be asked less often", where=path)
            raise _Passing(busy, after=_after(answer), untouched=True)
        if status >= 500:
            raise _Passing(self.unreachable(f"it answers {status} {told(answer)}".strip()), after=_after(answer))
        if not 200 <= status < 300:
            raise self.odd(path, f"it answers {status}")
        return answer

    def _read(self, answer: httpx.Response, path: str, *, text: bool) -> Any:
        if not answer.content.strip():
            return None
        try:
            return answer.json()
        except ValueError as error:
            if text:
                return answer.text.strip()
            raise self.odd(path, "it is not JSON") from error


class _Passing(Exception):
    """Trouble that may pass. after: seconds to wait, as the provider asks. untouched: the request had no effect."""

    def __init__(self, error: LycError, *, after: float | None = None, untouched: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after
        self.untouched = untouched


def _after(answer: httpx.Response) -> float | None:
    """Retry-After in seconds; the form with a date is not used by those whom lyc asks."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.replace(".", "", 1).isdecimal() else None


def _decoded(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return answer.text


class _Told:
    """What an answer says for itself, short, on one line, and without what was to stay between us."""

    def __init__(self, values: Iterable[str], hidden: Iterable[Secret]) -> None:
        # `Bearer x`, `Basic x`: the scheme may show.
        words = [value.rpartition(" ")[2] for value in values] + [secret.reveal() for secret in hidden]
        self._hidden = sorted({word for word in words if len(word) >= _SECRET}, key=len, reverse=True)

    def __call__(self, answer: httpx.Response) -> str:
        body = _decoded(answer)
        for key in ("detail", "message", "error", "error_description", "title"):
            if isinstance(body, Mapping) and key in body:
                body = body[key]
        text = str(body.get("message", body)) if isinstance(body, Mapping) else str(body)
        for word in self._hidden:
            text = text.replace(word, MASK)
        return " ".join(text.split())[:_DETAIL]
