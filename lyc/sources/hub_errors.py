"""What goes wrong with a hub, in lyc's words: by status and `X-Error-Code`, never by text."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from lyc.errors import Failed, LycError, NotAuthorised, SpecError, Unreachable
from lyc.records.model import ModelRef

_TRANSPORT: type[BaseException] = HfHubHTTPError.__bases__[0]
"""Base of the errors of the HTTP library that huggingface_hub is built on (not always the one that lyc uses)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which hub, and whether a token went along."""

    ref: ModelRef
    endpoint: str
    path: str | None
    signed_in: bool

    def refused(self, status: int, code: str | None) -> LycError:
        """The error that an answer of 4xx or 5xx means."""
        if code == "GatedRepo":
            return self._gated()
        if code == "RevisionNotFound":
            return SpecError(
                "no-such-revision",
                f"{self.ref.location} has no revision {self.ref.revision}",
                where=str(self.ref),
                hint=f"see {self.endpoint}/{self.ref.location}/commits/main, or leave out @{self.ref.revision}",
            )
        if code == "EntryNotFound":
            return Failed(
                "source-changed",
                f"{self.path} is listed, but not there",
                where=str(self.ref),
                hint="deploy again; if it stays, the upload is incomplete",
            )
        if code == "RepoNotFound" or status == 404 or (status == 401 and not self.signed_in):
            return self._missing()
        if status == 401:
            return NotAuthorised(
                "bad-token",
                f"{self.endpoint} does not accept HF_TOKEN",
                why="it is mistyped, expired or revoked",
                where="HF_TOKEN",
                hint=f"make a new one at {self.endpoint}/settings/tokens and export HF_TOKEN=…",
            )
        if status == 403:
            return NotAuthorised(
                "hub-denied",
                f"HF_TOKEN may not read {self.ref.location}" if self.signed_in else f"{self.ref.location} is closed",
                why="the hub answered 403",
                where=str(self.ref),
                hint=f"export HF_TOKEN=… with the right to read it ({self.endpoint}/settings/tokens)",
            )
        if status == 429:
            return self.unanswered("it asks to slow down (429); a token allows more")
        if status >= 500:
            return self.unanswered(f"it answered {status}")
        return Failed(
            "hub-failed",
            f"{self.endpoint} refused to serve {self.ref}",
            why=f"it answered {status}",
            where=str(self.ref),
            hint=f"open {self.endpoint}/{self.ref.location} and see what it says",
        )

    def unanswered(self, why: str) -> Unreachable:
        """The error of no usable answer."""
        return Unreachable(
            "hub-unreachable",
            f"{self.endpoint} does not answer",
            why=why,
            where=str(self.ref),
            hint="check the network and HF_ENDPOINT, then deploy again: what was fetched is kept",
        )

    def _gated(self) -> NotAuthorised:
        why = "its owner wants every user to accept the terms, and " + (
            "the account of HF_TOKEN has not" if self.signed_in else "no token says who you are"
        )
        return NotAuthorised(
            "gated-model",
            f"{self.ref.location} is gated",
            why=why,
            where=str(self.ref),
            hint=f"open {self.endpoint}/{self.ref.location}, accept the terms, then export HF_TOKEN=… of that account",
        )

    def _missing(self) -> SpecError:
        return SpecError(
            "no-such-model",
            f"{self.endpoint} has no model {self.ref.location}",
            why="or it is private, and the account of HF_TOKEN may not see it"
            if self.signed_in
            else "or it is private: to a caller without a token it looks missing",
            where=str(self.ref),
            hint="look for a typing error"
            + ("" if self.signed_in else ", or export HF_TOKEN=… of an account that may see it"),
        )


class speaking:
    """Within it every error of huggingface_hub and httpx becomes one of lyc's."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HfHubHTTPError):
            status, headers = error.response.status_code, error.response.headers
            raise self._asked.refused(status, headers.get("X-Error-Code")) from error
        if isinstance(error, HFValidationError):
            raise SpecError(
                "invalid-model",
                f"{self._asked.ref.location} is no name of a model",
                why=str(error),
                hint="write org/name[@revision]",
            ) from error
        if isinstance(error, OfflineModeIsEnabled):
            raise self._asked.unanswered("HF_HUB_OFFLINE is set") from error
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL | _TRANSPORT):
            raise self._asked.unanswered(_reason(error)) from error


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    if "Timeout" in name:
        return "nothing came in time"
    return "the connection broke" if "Read" in name or "Remote" in name else "no connection could be made"
