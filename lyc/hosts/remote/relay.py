"""The proxy of `lyc.hosts.remote.egress`: CONNECT for TLS, plain HTTP passed on, and folders of this machine as pages.

What passes under TLS is between the host and the server. No word of a request is logged.
"""

from __future__ import annotations

import base64
import hmac
import html
import http.client
import ipaddress
import re
import shutil
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from urllib.parse import quote, unquote, urljoin, urlsplit

from lyc.hosts.remote.places import NEAR

CONNECT_SECONDS, IDLE_SECONDS = 20.0, 300.0
CHUNK = 1 << 18
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".metadata")
_LINK = re.compile(r"""href\s*=\s*["']([^"'#]+)""", re.IGNORECASE)
_HOP = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade"}  # fmt: skip


class Denied(Exception):
    """The host asked for something that it is not lent a way to."""


@dataclass(frozen=True, slots=True)
class Outward:
    """What a host may reach: public addresses at the usual ports, `servers`, and what lies in `folders` here.

    proxies: those that this machine itself goes out by: `http`, `https`, and `no` for what it goes to directly.
    """

    folders: Sequence[Path]
    servers: frozenset[tuple[str, int]]
    proxies: Mapping[str, str] = field(default_factory=dict)

    def connect(self, name: str, port: int) -> socket.socket:
        """A connection, past this machine's own proxy where it has one. Raises Denied or OSError."""
        proxy = self._proxy("https", name)
        if proxy is None:
            return socket.create_connection(self._address(name, port), timeout=CONNECT_SECONDS)
        self._no_inner(name, port)
        way = urlsplit(proxy)
        connection = http.client.HTTPConnection(way.hostname or "", way.port or 3128, timeout=CONNECT_SECONDS)
        connection.set_tunnel(name, port, headers=_credentials(proxy))
        connection.connect()
        return connection.sock

    def plain(self, name: str, port: int) -> tuple[http.client.HTTPConnection, bool]:
        """(a connection for HTTP without TLS, whether it is to a proxy). Raises Denied."""
        proxy = self._proxy("http", name)
        if proxy is None:
            address, port = self._address(name, port)
            return http.client.HTTPConnection(address, port, timeout=CONNECT_SECONDS), False
        self._no_inner(name, port)
        way = urlsplit(proxy)
        return http.client.HTTPConnection(way.hostname or "", way.port or 3128, timeout=CONNECT_SECONDS), True

    def headers(self, name: str) -> Mapping[str, str]:
        """What this machine's own proxy wants to be told for a request to `name`."""
        return _credentials(self._proxy("http", name) or "")

    def _proxy(self, scheme: str, name: str) -> str | None:
        spared = [word.strip().lstrip("*.") for word in self.proxies.get("no", "").split(",") if word.strip()]
        if any(word in ("", name) or name.endswith(f".{word}") for word in spared):
            return None
        return self.proxies.get(scheme)

    def _address(self, name: str, port: int) -> tuple[str, int]:
        """The address to connect to: asked for once, so that no second answer leads elsewhere than the checked one."""
        found = [row[4] for row in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
        if (name, port) not in self.servers:
            found = [entry for entry in found if port in (80, 443) and ipaddress.ip_address(entry[0]).is_global]
        if not found:
            raise Denied(f"{name}:{port} is neither public nor a place that is configured")
        return str(found[0][0]), port

    def _no_inner(self, name: str, port: int) -> None:
        """For what another proxy looks up: at least no address that is plainly inner."""
        if (name, port) in self.servers:
            return
        try:
            public = ipaddress.ip_address(name).is_global
        except ValueError:
            public = "." in name and not name.endswith((".localhost", ".local", ".internal"))
        if not public or port not in (80, 443):
            raise Denied(f"{name}:{port} is neither public nor a place that is configured")


def _credentials(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(word.encode()).decode()}"}


class Relay(ThreadingMixIn, UnixStreamServer):
    """Listens on the unix socket `path`. password: of the account `lyc`, without which nobody gets anywhere."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, outward: Outward, password: str) -> None:
        self.outward = outward
        word = base64.b64encode(f"lyc:{password}".encode()).decode()
        self.authorization = f"Basic {word}".encode()
        self.linked: set[Path] = set()
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Relay
    timeout = IDLE_SECONDS

    def do_CONNECT(self) -> None:
        """A tunnel, until either side ends."""
        if not self._authorized():
            return
        name, _, port = self.path.rpartition(":")
        try:
            outer = self.server.outward.connect(name.strip("[]"), int(port))
        except (Denied, ValueError) as error:
            self.send_error(403, str(error))
            return
        except OSError as error:
            self.send_error(502, f"{name} does not answer: {error}")
            return
        with outer:
            outer.settimeout(IDLE_SECONDS)
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_copy, args=(outer, self.connection), daemon=True)
            back.start()
            _copy(self.connection, outer)
            back.join()

    def do_GET(self) -> None:
        """A page or file of this machine, or plain HTTP that is passed on."""
        if not self._authorized():
            return
        parts = urlsplit(self.path)
        try:
            if parts.hostname == NEAR:
                self._near(Path(unquote(parts.path)))
            else:
                self._pass_on(parts.hostname or "", parts.port or 80)
        except Denied as error:
            self.send_error(403, str(error))
        except FileNotFoundError:
            self.send_error(404)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # no answer at all: uv is to see that the network is at fault, not the server

    do_HEAD = do_GET

    def _authorized(self) -> bool:
        given = (self.headers.get("Proxy-Authorization") or "").encode()
        if hmac.compare_digest(given, self.server.authorization):
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="lyc"')
        self.end_headers()
        return False

    def _pass_on(self, name: str, port: int) -> None:
        outward = self.server.outward
        connection, proxied = outward.plain(name, port)
        parts = urlsplit(self.path)
        target = self.path if proxied else parts._replace(scheme="", netloc="").geturl() or "/"
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
        try:
            connection.request(
                self.command, target, headers=headers | dict(outward.headers(name)) | {"Connection": "close"}
            )
            answer = connection.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for key, value in answer.getheaders():
                if key.lower() not in _HOP:
                    self.send_header(key, value)
            self.end_headers()
            while chunk := answer.read(CHUNK):
                self.wfile.write(chunk)
        finally:
            connection.close()

    def _near(self, path: Path) -> None:
        """Pages below the folders, archives in them, and archives that such a page has linked to."""
        roots = [folder.resolve() for folder in self.server.outward.folders]
        path = path.resolve()
        inside = any(path.is_relative_to(root) for root in roots)
        if path.is_file() and path.name.endswith(_ARCHIVES) and (inside or path in self.server.linked):
            self._file(path)
        elif inside and path.is_dir():
            index = path / "index.html"
            self._page(path, index.read_text("utf-8", "replace") if index.is_file() else _listing(path))
        elif inside and path.is_file() and path.suffix in (".html", ".json"):
            self._page(path.parent, path.read_text("utf-8", "replace"))
        else:
            raise FileNotFoundError(path)

    def _page(self, folder: Path, text: str) -> None:
        for link in _LINK.findall(text):
            parts = urlsplit(urljoin(f"http://{NEAR}{quote(str(folder))}/", html.unescape(link)))
            if parts.hostname == NEAR or parts.scheme == "file":
                self.server.linked.add(Path(unquote(parts.path)).resolve())
        data = text.encode()
        self._head("text/html; charset=utf-8", len(data))
        if self.command == "GET":
            self.wfile.write(data)

    def _file(self, path: Path) -> None:
        with path.open("rb") as file:
            self._head("application/octet-stream", path.stat().st_size)
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile, CHUNK)

    def _head(self, kind: str, length: int) -> None:
        self.send_response_only(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: what a host installs is its own matter."""


def _listing(folder: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    kept = [name for name in names if name.endswith(("/", *_ARCHIVES))]
    rows = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a><br>\n' for name in kept)
    return f"<!DOCTYPE html><html><body>\n{rows}</body></html>\n"


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Until the source ends or either breaks; then the sink is told that nothing more comes."""
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (sink, source):
            try:
                end.shutdown(socket.SHUT_WR if end is sink else socket.SHUT_RD)
            except OSError:
                continue
