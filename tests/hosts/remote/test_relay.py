"""The proxy that a host is lent: who may use it, and what it leads to."""

from __future__ import annotations

import base64
import http.client
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lyc.hosts.remote.egress import sweep
from lyc.hosts.remote.places import NEAR, places
from lyc.hosts.remote.relay import Outward, Relay

PASSWORD = "open-sesame"


class Client(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("proxy", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


Asks = Callable[..., tuple[int, bytes]]


@contextmanager
def relay(outward: Outward) -> Iterator[Asks]:
    with tempfile.TemporaryDirectory(prefix="lyc-r-") as folder:
        server = Relay(f"{folder}/s", outward, PASSWORD)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def asks(method: str, target: str, password: str = PASSWORD) -> tuple[int, bytes]:
            word = base64.b64encode(f"lyc:{password}".encode()).decode()
            client = Client(f"{folder}/s")
            client.request(method, target, headers={"Proxy-Authorization": f"Basic {word}"})
            answer = client.getresponse()
            tunnel = method == "CONNECT" and answer.status == 200
            found = answer.status, b"" if tunnel else answer.read()
            client.close()
            answer.close()
            return found

        try:
            yield asks
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def inner() -> Iterator[int]:
    """A service of this machine that is nobody's business."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nobody_without_the_password(inner: int) -> None:
    with relay(Outward((), frozenset({("127.0.0.1", inner)}))) as asks:
        for method, target in (("CONNECT", f"127.0.0.1:{inner}"), ("GET", f"http://127.0.0.1:{inner}/")):
            assert asks(method, target, "guess")[0] == 407
            assert asks(method, target, "")[0] == 407
        assert asks("CONNECT", f"127.0.0.1:{inner}")[0] == 200


def test_nothing_of_this_machines_network(inner: int) -> None:
    with relay(Outward((), frozenset())) as asks:
        for target in (f"127.0.0.1:{inner}", f"localhost:{inner}", "127.0.0.1:443", "[::1]:443", "10.0.0.1:443",
                       "169.254.169.254:80", "192.168.1.1:80", "9.9.9.9:22", "nonsense"):  # fmt: skip
            assert asks("CONNECT", target)[0] == 403, target
        assert asks("GET", f"http://127.0.0.1:{inner}/")[0] == 403
        assert asks("GET", "http://169.254.169.254/latest/meta-data/")[0] == 403


def test_past_a_proxy_neither() -> None:
    """What another proxy would look up is not let through either where it is plainly inner."""
    with relay(Outward((), frozenset(), {"https": "http://127.0.0.1:9", "http": "http://127.0.0.1:9"})) as asks:
        for target in ("10.0.0.1:443", "localhost:443", "metadata:443", "metadata.google.internal:443", "9.9.9.9:22"):
            assert asks("CONNECT", target)[0] == 403, target
        assert asks("GET", "http://169.254.169.254/")[0] == 403
        assert asks("CONNECT", "pypi.org:443")[0] == 502


def test_folders_of_this_machine(tmp_path: Path) -> None:
    """An index whose pages link to files beside it; nothing else that lies there."""
    for name in ("simple/alpha", "files", "wheels"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "simple/alpha/index.html").write_text('<a href="../../files/alpha-1.whl#sha256=0">alpha-1.whl</a>')
    (tmp_path / "simple/alpha/secret").write_text("x")
    for name in ("files/alpha-1.whl", "files/other-1.whl", "wheels/beta-1.whl"):
        (tmp_path / name).write_text(name)
    (tmp_path / "wheels/link.whl").symlink_to("/etc/passwd")
    with relay(Outward((tmp_path / "simple", tmp_path / "wheels"), frozenset())) as asks:

        def near(path: str) -> tuple[int, bytes]:
            return asks("GET", f"http://{NEAR}{tmp_path}/{path}")

        assert near("files/alpha-1.whl")[0] == 404  # no page has named it yet
        assert b"alpha-1.whl" in near("simple/alpha/")[1]
        assert near("files/alpha-1.whl") == (200, b"files/alpha-1.whl")
        assert near("files/other-1.whl")[0] == 404
        assert b"beta-1.whl" in near("wheels/")[1]
        assert near("wheels/beta-1.whl") == (200, b"wheels/beta-1.whl")
        for path in (
            "",
            "files/",
            "simple/alpha/secret",
            "wheels/link.whl",
            "wheels/../../etc/passwd",
            "../../etc/passwd",
        ):
            assert near(path)[0] == 404, path
        assert asks("HEAD", f"http://{NEAR}{tmp_path}/wheels/beta-1.whl") == (200, b"")


def test_what_killed_controllers_left_is_removed() -> None:
    with tempfile.TemporaryDirectory(prefix="lyc-r-") as folder, socket.socket(socket.AF_UNIX) as alive:
        alive.bind(f"{folder}/out-alive")
        alive.listen()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{folder}/out-dead")
        (Path(folder) / "ssh-other").touch()
        sweep(Path(folder), time.time())
        assert len(list(Path(folder).iterdir())) == 3
        sweep(Path(folder), time.time() + 3600)
        assert sorted(path.name for path in Path(folder).iterdir()) == ["out-alive", "ssh-other"]


@pytest.mark.parametrize(
    ("environ", "expected", "near"),
    [
        ({}, {}, False),
        ({"UV_FIND_LINKS": "/w"}, {"UV_FIND_LINKS": f"http://{NEAR}/w/"}, True),
        (
            {"UV_DEFAULT_INDEX": "file:///srv/a%20b/simple", "UV_INDEX": "https://u:p@h/s mine=file:///m"},
            {
                "UV_DEFAULT_INDEX": f"http://{NEAR}/srv/a%20b/simple/",
                "UV_INDEX": f"https://u:p@h/s mine=http://{NEAR}/m/",
            },
            True,
        ),
        ({"UV_DEFAULT_INDEX": "http://127.0.0.1:80/s"}, {"UV_DEFAULT_INDEX": "http://127.0.0.1:80/s"}, True),
        (
            {"UV_INDEX": "corp=https://h/s?a=b", "UV_INDEX_CORP_PASSWORD": "p", "UV_CACHE_DIR": "/c", "HOME": "/h"},
            {"UV_INDEX": "corp=https://h/s?a=b", "UV_INDEX_CORP_PASSWORD": "p"},
            False,
        ),
    ],
)  # fmt: skip
def test_what_uv_on_a_host_is_told(
    tmp_path: Path, environ: dict[str, str], expected: dict[str, str], near: bool
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nfind-links =\nindex-url =\nextra-index-url =\ncert =\n")
    found = places(environ | {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}, tmp_path)
    assert (found.variables, found.near) == (expected, near)
