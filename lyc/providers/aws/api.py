"""Calls of AWS by boto3: clients by region, what passes is tried again, pages are followed, errors are ours."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from lyc.errors import Failed, LycError, Unreachable, UsageError
from lyc.providers.aws import codes
from lyc.records.secret import MASK, Secret

HOME = "eu-central-1"
"""Where is asked what belongs to no region: who one is, which regions there are, prices."""

TRIES = 4
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
_SIGN_IN = (
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
)


_NEVER_SHOWN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

# At its DEBUG level it logs whole requests, and in them the session token.
logging.getLogger("botocore").setLevel(logging.INFO)


class _BrokeDown(Exception):
    """An answer of 5xx that is not of AWS's own form, of a proxy say."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Answered(Exception):
    """A refusal with a code that the caller asked for (`known`)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Aws:
    """One account. Thread-safe; touches no network until the first call.

    Args:
        credentials: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`. Without a key:
            what botocore finds on this machine, but never the environment of this process, which may be days old.
        endpoint: a URL for every service and region.
        timeout: seconds that an answer may take. pause: waits so many seconds.
    """

    def __init__(
        self,
        credentials: Mapping[str, Secret],
        *,
        endpoint: str | None = None,
        timeout: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._known = {name: secret.reveal() for name, secret in credentials.items() if secret}
        self._endpoint = endpoint
        self._pause = pause
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, str], Any] = {}
        # One try each: how often, and after what, is decided here, where it is known what may be done twice.
        self._config = Config(
            connect_timeout=min(10.0, timeout), read_timeout=timeout, retries={"total_max_attempts": 1},
            max_pool_connections=16,
        )  # fmt: skip

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def call(
        self,
        service: str,
        region: str,
        operation: str,
        *,
        again: bool,
        known: frozenset[str] = frozenset(),
        **params: Any,
    ) -> Mapping[str, Any]:
        """One call by its name in boto3. again: doing it twice is as once. known: codes that come as Answered.

        Raises what `lyc.ports.Provider` says.
        """
        where = f"{service} {operation} {region}"
        pause = FIRST_PAUSE
        for left in range(TRIES - 1, -1, -1):
            try:
                answer: Mapping[str, Any] = getattr(self._client(service, region), operation)(**params)
                return answer
            except ClientError as error:
                code, wait = _code(error), _after(error)
                if code in known:
                    raise Answered(code) from None
                trouble = self._meant(error, where)
                # A call that was turned away for being one too many has done nothing.
                untouched = trouble.ref == "provider-busy" and code not in codes.IN_USE
                passing = untouched or (again and trouble.ref == "provider-unreachable")
            except (BotoCoreError, ResponseParserError, _BrokeDown, ValueError) as other:
                trouble, wait = self._unanswered(other, where), None
                untouched = isinstance(other, EndpointConnectionError | ConnectTimeoutError)
                passing = (again or untouched) and isinstance(trouble, Unreachable)
            wait = pause if wait is None else wait
            if not left or not passing or wait > LONGEST_PAUSE:
                # Not from botocore's: its text may hold the whole answer, with whatever that repeats.
                raise trouble from None
            self._pause(wait)
            pause *= 2
        raise AssertionError("unreachable")

    def pages(
        self, service: str, region: str, operation: str, key: str, *, size: int | None = None, **params: Any
    ) -> Iterator[Any]:
        """Every item below `key` on every page of a call that only reads. size: of a page, where it may be asked."""
        asked: dict[str, Any] = {**params} if size is None else {**params, "MaxResults": size}
        while True:
            answer = self.call(service, region, operation, again=True, **asked)
            if key not in answer:
                raise codes.odd(f"{key} is missing", f"{service} {operation} {region}")
            yield from answer[key]
            following = answer.get("NextToken")
            if not following:
                return
            if asked.get("NextToken") == following:
                raise codes.odd("its list has no end", f"{service} {operation} {region}")
            asked["NextToken"] = following

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                # Clients may be used by several threads, but not be made by them.
                session: Any = self._opened()
                client = session.client(service, region_name=region, endpoint_url=self._endpoint, config=self._config)
                client.meta.events.register("before-parse", _readable)
                self._clients[service, region] = client
            return client

    def _opened(self) -> boto3.Session:
        if self._session is None:
            known = self._known
            if bool(known.get("AWS_ACCESS_KEY_ID")) != bool(known.get("AWS_SECRET_ACCESS_KEY")):
                raise PartialCredentialsError(provider="the environment", cred_var="AWS_*")
            core = botocore.session.Session(profile=known.get("AWS_PROFILE"))
            core.register_component("data_loader", _shapes())
            core.get_component("credential_provider").remove("env")
            core.set_config_variable("ignore_configured_endpoint_urls", "true")
            self._session = boto3.Session(
                aws_access_key_id=known.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=known.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=known.get("AWS_SESSION_TOKEN"),
                botocore_session=core,
            )
        return self._session

    def _meant(self, error: ClientError, where: str) -> LycError:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        told = str(error.response.get("Error", {}).get("Message", ""))
        for secret in filter(None, map(self._known.get, _NEVER_SHOWN)):
            told = told.replace(secret, MASK)
        return codes.meant(_code(error), status, told, where)

    def _unanswered(self, error: Exception, where: str) -> LycError:
        if isinstance(error, _SIGN_IN):
            return codes.no_credential(type(error).__name__)
        if isinstance(error, ParamValidationError):
            return Failed("provider-refused", "the request is not one that AWS has", where=where)
        if isinstance(error, _BrokeDown):
            return codes.unreachable(f"it answers {error.status}", where)
        if isinstance(error, ResponseParserError):
            return codes.odd("its answer cannot be read", where)
        if isinstance(error, ValueError):  # how botocore refuses an endpoint that is no URL
            return UsageError("invalid-endpoint", f"{self._endpoint!r} is not the URL of a server", where=where)
        if isinstance(error, HTTPClientError | EndpointConnectionError):
            return codes.unreachable(type(error).__name__, where)
        return codes.odd(type(error).__name__, where)


def where(name: str, *values: str) -> dict[str, Any]:
    """One of the `Filters` of a Describe call."""
    return {"Name": name, "Values": list(values)}


@functools.cache
def _shapes() -> object:
    """What boto3 knows of each service: half a second to read for EC2, and the same for every account."""
    return botocore.session.Session().get_component("data_loader")


def _readable(response_dict: Mapping[str, Any], **_: object) -> None:
    """Raises _BrokeDown, where botocore would fail over the form and not tell the status."""
    body = bytes(response_dict.get("body") or b"").lstrip()
    if response_dict["status_code"] >= 500 and not body.startswith((b"<", b"{")):
        raise _BrokeDown(response_dict["status_code"])


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _after(error: ClientError) -> float | None:
    """Retry-After in seconds."""
    headers: Mapping[str, Any] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    text = str(headers.get("retry-after", ""))
    return float(text) if text.replace(".", "", 1).isdecimal() else None
