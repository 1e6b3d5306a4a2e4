"""The thin client of the controller's API: HTTP over its unix socket, with the standard library alone.

Standard library because of the start of `lyc ls`: importing httpx alone takes longer than the whole call.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlencode

from lyc import __version__
from lyc.control.documents import (
    API,
    ControllerDocument,
    DeploymentDocument,
    EventDocument,
    HostDocument,
    KeyDocument,
    LogDocument,
    NewKeyDocument,
    OperationDocument,
    PruneDocument,
    StopDocument,
    UnlockDocument,
    UseDocument,
)
from lyc.control.scale_documents import JournalDocument
from lyc.errors import Failed, LycError, NotAuthorised, Unreachable, from_document
from lyc.records.deployment import DeploymentSpec

ANSWER_SECONDS = 60.0
"""Longest wait for the answer to one call. Streams have no limit of their own: their reader sets one."""
LOOK_SECONDS = 180.0
"""Longest wait for a look at a host: two connections, and the longest that the look itself may take."""
PRUNE_SECONDS = 900.0
"""Longest wait for a host to remove what it no longer needs: many small files on a slow disk."""
QUIET_SECONDS = 60.0
"""Longest silence of a controller that works on a host; it gives a sign of life every few seconds."""

_Query = Mapping[str, str | int | float | bool | None]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(str(self._path))
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class ControllerClient:
    """One call a method, one connection a call. Raises what the controller answered, as it was raised there.

    Besides: Unreachable `controller-not-running` and `controller-gone`, NotAuthorised `controller-denied`,
    Failed `other-controller-version` and `odd-answer`. Ids and names are quoted here; pass them as they are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self, *, any_version: bool = False) -> ControllerDocument:
        """What runs there. Raises Failed `other-controller-version` unless `any_version`."""
        document = cast("ControllerDocument", self.call("GET", "/v1/controller"))
        if not any_version and document.get("api") != API:
            raise _other_version(str(document.get("version", "unknown")))
        return document

    def stop(self) -> StopDocument:
        return cast("StopDocument", self.call("POST", "/v1/controller/stop"))

    def deploy(
        self,
        spec: DeploymentSpec,
        *,
        credentials: Mapping[str, str],
        name_given: bool,
        offer: tuple[str, str] | None = None,
    ) -> str:
        """Store the desired state. Returns the id of the operation that makes it real. offer: what to rent."""
        body: dict[str, object] = {"spec": asdict(spec), "credentials": dict(credentials), "name_given": name_given}
        if offer is not None:
            body["offer"] = offer
        return str(self.call("PUT", f"/v1/deployments/{_q(spec.name)}", body=body)["operation"])

    def deployments(self) -> list[DeploymentDocument]:
        return cast("list[DeploymentDocument]", self.call("GET", "/v1/deployments")["deployments"])

    def deployment(self, name: str) -> DeploymentDocument:
        return cast("DeploymentDocument", self.call("GET", f"/v1/deployments/{_q(name)}"))

    def down(self, name: str, *, drain_timeout: float, force: bool = False) -> str:
        """Wish it away; with `force` also where a host does not answer. Returns the id of the operation."""
        query: _Query = {"drain_timeout": drain_timeout, "force": force or None}
        return str(self.call("DELETE", f"/v1/deployments/{_q(name)}", query=query)["operation"])

    def operation(self, id_: str) -> OperationDocument:
        return cast("OperationDocument", self.call("GET", f"/v1/operations/{_q(id_)}"))

    def events(
        self, id_: str, *, after: int = 0, silence: float | None = None, deadline: float | None = None
    ) -> Iterator[EventDocument]:
        """Events with a larger `seq` than `after`, until the operation ends or the controller goes away.

        Raises TimeoutError after `silence` seconds without a sign of life, and at `deadline` (monotonic clock), which
        is looked at whenever the controller says anything; it does so every few seconds.
        """
        lines = self._stream(f"/v1/operations/{_q(id_)}/events", {"after": after}, silence, deadline)
        return (cast("EventDocument", line) for line in lines)

    def logs(
        self,
        name: str,
        *,
        tail: int | None = None,
        since: float | None = None,
        follow: bool = False,
        replica: str | None = None,
    ) -> Iterator[LogDocument]:
        """Lines of the replicas, oldest first; with `follow` without end. since: epoch seconds."""
        query: _Query = {"tail": tail, "since": since, "follow": follow, "replica": replica}
        lines = self._stream(f"/v1/deployments/{_q(name)}/logs", query, None if follow else ANSWER_SECONDS)
        return (cast("LogDocument", line) for line in lines)

    def journal(
        self, name: str, *, after: int = 0, limit: int | None = None, since: float | None = None, follow: bool = False
    ) -> Iterator[JournalDocument]:
        """What was done to it, oldest first; with `follow` without end, and what ends comes once more."""
        query: _Query = {"after": after, "limit": limit, "since": since, "follow": follow}
        lines = self._stream(f"/v1/deployments/{_q(name)}/events", query, None if follow else ANSWER_SECONDS)
        return (cast("JournalDocument", line) for line in lines)

    def keys(self, name: str) -> list[KeyDocument]:
        return cast("list[KeyDocument]", self.call("GET", f"/v1/deployments/{_q(name)}/keys")["keys"])

    def create_key(self, name: str, *, label: str, ttl: float | None = None) -> NewKeyDocument:
        """ttl: seconds until it expires by itself; None = never. The answer is the only time the key is seen."""
        body = {"label": label, "ttl_seconds": ttl}
        return cast("NewKeyDocument", self.call("POST", f"/v1/deployments/{_q(name)}/keys", body=body))

    def revoke_key(self, name: str, id_: str) -> dict[str, object]:
        return self.call("DELETE", f"/v1/deployments/{_q(name)}/keys/{_q(id_)}")

    def hosts(self) -> list[HostDocument]:
        return cast("list[HostDocument]", self.call("GET", "/v1/hosts")["hosts"])

    def host(self, name: str) -> HostDocument:
        return cast("HostDocument", self.call("GET", f"/v1/hosts/{_q(name)}"))

    def add_host(
        self,
        name: str,
        address: str,
        *,
        accept_host_key: str | None,
        hub: str | None,
        lease: int | None = None,
        country: str | None = None,
    ) -> tuple[HostDocument, bool]:
        """(the host after a first look, whether it is new). lease: seconds, 0 = none any more, None = as before.

        Raises Failed `host-key-unknown` …, see the API.
        """
        body = {"address": address, "accept_host_key": accept_host_key, "hub": hub, "lease_seconds": lease}
        body |= {"country": country} if country is not None else {}
        document = self.call("PUT", f"/v1/hosts/{_q(name)}", body=body, timeout=LOOK_SECONDS)
        new = bool(document.pop("new", False))
        return cast("HostDocument", document), new

    def check_host(self, name: str, *, hub: str | None) -> HostDocument:
        """Look at it now. hub: HF_ENDPOINT, to ask whether the host reaches it; None = the Hub itself."""
        path = f"/v1/hosts/{_q(name)}/check"
        return cast("HostDocument", self.call("POST", path, body={"hub": hub}, timeout=LOOK_SECONDS))

    def remove_host(self, name: str) -> dict[str, object]:
        return self.call("DELETE", f"/v1/hosts/{_q(name)}")

    def use_of_host(self, name: str) -> UseDocument:
        """What lyc has and does there now. Raises Failed `host-not-prepared`, and what keeps it from answering."""
        return cast("UseDocument", self.call("GET", f"/v1/hosts/{_q(name)}/use", timeout=LOOK_SECONDS))

    def unlock_host(self, name: str, *, force: bool) -> UnlockDocument:
        """Raises Locked `host-locked` where another controller holds it, unless `force`."""
        path = f"/v1/hosts/{_q(name)}/lock"
        return cast("UnlockDocument", self.call("DELETE", path, query={"force": force or None}, timeout=LOOK_SECONDS))

    def prune_host(self, name: str, *, free: int | None, dry_run: bool) -> PruneDocument:
        """free: bytes that shall be free there; None = all that may go."""
        path, body = f"/v1/hosts/{_q(name)}/prune", {"free": free, "dry_run": dry_run}
        return cast("PruneDocument", self.call("POST", path, body=body, timeout=PRUNE_SECONDS))

    def prepare_host(self, name: str, say: Callable[[str], None]) -> dict[str, object]:
        """`{name, changed}`. say: hears each step."""
        return self._told(f"/v1/hosts/{_q(name)}/prepare", None, say)

    def purge_host(self, name: str, say: Callable[[str], None], *, force: bool) -> dict[str, object]:
        """Leave nothing there and forget it: `{name, removed, purged}`."""
        return self._told(f"/v1/hosts/{_q(name)}/purge", {"force": force}, say)

    def _told(self, path: str, body: Mapping[str, object] | None, say: Callable[[str], None]) -> dict[str, object]:
        """The result of a call that tells what it does while it does it. Raises its error."""
        connection, response = self._request("POST", path, None, body, QUIET_SECONDS)
        try:
            for document in self._lines(connection, response, None):
                if isinstance(error := document.get("error"), dict):
                    raise from_document(error)
                if isinstance(result := document.get("result"), dict):
                    return result
                say(str(document.get("line") or ""))
        except TimeoutError as problem:
            raise self._unreachable(problem) from problem
        raise self._gone(ConnectionError("it stopped in the middle of its work"))

    def call(
        self,
        method: str,
        path: str,
        *,
        query: _Query | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> dict[str, object]:
        """One call of the API; what the methods here are made of."""
        connection, response = self._request(method, path, query, body, timeout)
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as problem:
            raise self._gone(problem) from problem
        finally:
            connection.close()
        document = _object(content)
        if not content:
            raise self._gone(ConnectionError("it sent no answer"))
        if document is None:
            raise Failed("odd-answer", f"the controller's answer to {method} {path} is not a JSON object")
        return document

    def _stream(
        self, path: str, query: _Query, silence: float | None, deadline: float | None = None
    ) -> Iterator[dict[str, object]]:
        """The request is made at once, so that its errors are raised here and not at the first line."""
        connection, response = self._request("GET", path, query, None, silence)
        return self._lines(connection, response, deadline)

    def _lines(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float | None
    ) -> Iterator[dict[str, object]]:
        try:
            # readline gives "" both at the end and where the sender was killed: the reader knows its last line.
            while line := response.readline():
                document = _object(line) if line.strip() else None  # an empty line is a sign of life
                if document is not None:
                    yield document
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as problem:
            raise self._gone(problem) from problem
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, query: _Query | None, body: Mapping[str, object] | None, timeout: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self.path, timeout)
        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path + _query(query or {}), content, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response.status, response.read(), f"{method} {path}")
        except LycError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            raise self._unreachable(problem) from problem
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _unreachable(self, problem: Exception) -> LycError:
        if isinstance(problem, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return Unreachable(
                "controller-not-running",
                "the controller does not run",
                where=str(self.path),
                hint="lyc controller start",
            )
        if isinstance(problem, PermissionError):
            return NotAuthorised(
                "controller-denied",
                "the controller belongs to another user",
                where=str(self.path),
                hint="set LYC_HOME to a folder of your own",
            )
        if isinstance(problem, TimeoutError):
            return Unreachable(
                "controller-silent",
                f"the controller has not answered for {ANSWER_SECONDS:.0f} s",
                where=str(self.path),
                hint="lyc controller logs, then lyc controller restart",
            )
        return self._gone(problem)

    def _gone(self, problem: Exception) -> Unreachable:
        return Unreachable(
            "controller-gone",
            "the controller went away in the middle of its answer",
            why=str(problem) or type(problem).__name__,
            where=str(self.path),
            hint="lyc controller logs",
        )


def _q(part: str) -> str:
    return quote(part, safe="")


def _query(query: _Query) -> str:
    said = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
    said = {key: value for key, value in said.items() if value is not None}
    return f"?{urlencode(said)}" if said else ""


def _object(content: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _refusal(status: int, content: bytes, call: str) -> LycError:
    document = _object(content) or {}
    error = document.get("error")
    if isinstance(error, dict):
        return from_document(error)
    if status in {404, 405}:  # a path that this controller does not know
        return _other_version("unknown")
    return Failed("odd-answer", f"the controller answered {call} with status {status}", hint="lyc controller logs")


def _other_version(version: str) -> Failed:
    return Failed(
        "other-controller-version",
        "the controller that runs is of another version of lyc",
        why=f"it is {version}, this is {__version__}, and they speak different APIs",
        hint="lyc controller restart (replicas and gateway go on serving meanwhile)",
    )
