"""One file by HTTP: a GET that is resumed and guarded. URLs and headers hold credentials, so no error shows them."""

from __future__ import annotations

import calendar
import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from lyc.agent.answer import Refused

CONNECT_SECONDS, READ_SECONDS = 8.0, 30.0
_ANYWHERE = {"Range", "User-agent", "Accept-encoding"}
"""Headers that go to another server too when the first one points there; the others may be meant for it alone."""
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
)  # fmt: skip
"""Where distributions keep the authorities that they trust; an interpreter from elsewhere may not know."""
_OK, _PARTIAL = 200, 206


class Broken(Exception):
    """This try came to nothing; another may do better. answered: whether the source said anything at all."""

    def __init__(self, why: str, *, answered: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.answered = answered


class Origin:
    """Opens URLs. ca: authorities to trust besides the host's own, in PEM. proxy: None = as the environment says."""

    def __init__(self, *, ca: str | None = None, proxy: str | None = None) -> None:
        handlers: list[urllib.request.BaseHandler] = [_Redirects(), _Https(_trust(ca)), _Http()]
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        self._opener = urllib.request.build_opener(*handlers)

    @contextmanager
    def open(
        self, url: str, headers: Mapping[str, str], start: int, size: int
    ) -> Iterator[tuple[http.client.HTTPResponse, int]]:
        """The answer, and at which byte of the file it begins: at `start`, or at 0 where ranges are not heeded.

        Raises Broken, Refused `source-denied`, `fetch-expired`, `source-changed`, `source-unreachable`. Errors of
        reading are OSError and http.client.HTTPException.
        """
        with self._asked(url, dict(headers) | {"Range": f"bytes={start}-{size - 1}"}, start) as answer:
            yield answer, _beginning(url, headers, answer, start, size)

    def _asked(self, url: str, headers: dict[str, str], start: int) -> http.client.HTTPResponse:
        try:
            answer: http.client.HTTPResponse = self._opener.open(urllib.request.Request(url, headers=headers))  # noqa: S310 (see is_web)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(url, error.code, error.headers, start) from None
        except urllib.error.URLError as error:
            raise Broken(_reason(error.reason), answered=False) from None
        except (OSError, http.client.HTTPException) as error:
            raise Broken(_reason(error), answered=False) from None
        except ValueError:  # its words would show the header that cannot be sent
            raise Refused("bad-request", "a URL or header cannot be sent") from None
        return answer


def source_of(url: str) -> str:
    """The server of a URL, fit to be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def is_web(url: object) -> bool:
    """Whether it is an address that may be asked: nothing of `file:` and the like."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def unreachable(source: str, why: str) -> Refused:
    """The host does not get the file there; whoever asked may know another way."""
    return Refused("source-unreachable", f"the host gets no file from {source}", why=why, kind="Unreachable")


def changed(source: str, why: str) -> Refused:
    """The file is not the one that was listed."""
    return Refused(
        "source-changed",
        f"a file of the model changed at {source}",
        why=why,
        hint="deploy again once the upload is complete",
    )


def _beginning(url: str, headers: Mapping[str, str], answer: Any, start: int, size: int) -> int:
    """At which byte the answer begins. It must be of a file of that size, in the state that was listed."""
    source = source_of(answer.url)
    expected = headers.get("If-Match")
    if expected and source == source_of(url) and answer.headers.get("ETag") != expected:
        raise changed(source, "it has another entity tag than the one that was listed")
    if answer.status == _PARTIAL or "Content-Range" in answer.headers:  # not every server says 206 then
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start or found[3] not in (str(size), "*"):
            raise unreachable(source, "it answered with another range than the one that was asked for")
        return start
    if answer.status != _OK or answer.headers.get("Content-Length", str(size)) != str(size):
        raise unreachable(source, "it answered with something else than the file")
    return 0


def _refusal(url: str, status: int, headers: Message, start: int) -> Refused | Broken:
    """What an answer other than success means."""
    source = source_of(url)
    if status in (400, 401, 403) and _expired(url, headers):
        return Refused("fetch-expired", f"the leave to fetch from {source} ran out", kind="Unreachable")
    if status in (401, 403):
        return Refused(
            "source-denied",
            f"{source} does not let the host read the model",
            why=f"it answered {status}",
            hint="check the credentials that lyc was given for it",
            kind="NotAuthorised",
        )
    if status in (404, 410, 412):
        return changed(source, f"it answered {status}")
    if status == 416 and start:
        return Broken("there is no such range")
    if status == 429 or status >= 500 or status == 408:
        return Broken(f"it answered {status}")
    return unreachable(source, f"it answered {status}")


def _expired(url: str, headers: Message) -> bool:
    """Whether a signed URL is out of date, by the clock of the server that refused it."""
    query = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    try:
        now = parsedate_to_datetime(headers["Date"]).timestamp() if headers["Date"] else time.time()
        if "X-Amz-Date" in query:
            begun = calendar.timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
            return now >= begun + float(query["X-Amz-Expires"])
        return now >= float(query["Expires"])
    except (KeyError, TypeError, ValueError):
        return False


def _reason(reason: object) -> str:
    """Why there was no answer, without an address in it."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, socket.gaierror):
        return "its name is not known there"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError):
        return reason.strerror or "the connection failed"
    return "the connection failed"


def _trust(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not ssl.get_default_verify_paths().cafile and (found := next((p for p in _BUNDLES if Path(p).exists()), None)):
        context.load_verify_locations(found)
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError as error:
            raise Refused("bad-request", "the bundle of certificates cannot be read") from error
    return context


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to another server without what was meant for the first one, such as a token."""

    def redirect_request(  # noqa: PLR0917 (as the library calls it)
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """None where it may not be followed: from https down to http, or to another kind of address."""
        fresh = super().redirect_request(req, fp, code, msg, headers, newurl)
        if fresh is None or not is_web(newurl) or (req.type == "https" and fresh.type != "https"):
            return None
        if source_of(newurl) != source_of(req.full_url):
            for name in [name for name, _ in fresh.header_items() if name not in _ANYWHERE]:
                fresh.remove_header(name)
        return fresh


class _HttpConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Quickly or not at all; once connected, the server may take its time."""
        self.timeout = CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _HttpsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        """See above."""
        self.timeout = CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(READ_SECONDS)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, trust: ssl.SSLContext) -> None:
        super().__init__(context=trust)
        self._trust = trust

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, req, context=self._trust)
