"""How a machine without pip gets its uv: from a real index over HTTP, and only the file that the lock names."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from bootstrap import steps, uv

WHEEL = next(name for name in uv.locked_uv()[1] if uv.fits(name))


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    """A wheel laid out as uv's is, whose uv is a shell script."""
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("uv-0.0.1.data/scripts/uv", "#!/bin/sh\necho uv 0.0.1\n")
    return path.read_bytes()


@pytest.fixture
def index(wheel: bytes) -> Iterator[str]:
    """The address of a package index that wants a password, redirects to another host and holds that wheel."""

    class Store(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Authorization" in self.headers:
                self.send_error(400, "the password went to a host that it is not for")
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(wheel)

        def log_message(self, *_: object) -> None: ...

    class Index(Store):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:p@ss").decode():
                self.send_error(401)
            elif self.path == "/simple/uv/":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f'<a href="../../files/{WHEEL}#sha256=00">{WHEEL}</a>'.encode())
            else:
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{store.server_port}{self.path}")
                self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as store, ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        for each in (store, server):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        yield f"http://me:p%40ss@127.0.0.1:{server.server_port}/simple"
        for each in (store, server):
            each.shutdown()


def without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def test_the_lock_names_a_wheel_for_this_machine() -> None:
    _, wheels = uv.locked_uv()
    fitting = [name for name in wheels if uv.fits(name)]
    assert len(fitting) == 1
    assert len(wheels[fitting[0]][1]) == 64


def test_a_wheel_comes_from_the_mirror_with_its_password(index: str, wheel: bytes, tmp_path: Path) -> None:
    into = tmp_path / "scratch"
    into.mkdir()
    got = uv.fetch(WHEEL, "http://127.0.0.1:9/never-asked", into, "0.0.1", {"PIP_INDEX_URL": index})
    assert got.read_bytes() == wheel


def test_what_cannot_be_fetched_is_one_clear_error(index: str, tmp_path: Path) -> None:
    env = {"PIP_INDEX_URL": without_password(index), "PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"}
    with pytest.raises(steps.SetupError, match=r"could not fetch uv-.*401(?s:.*)set PIP_INDEX_URL"):
        uv.fetch(WHEEL, "http://127.0.0.1:9/never-asked", tmp_path / "nowhere", "0.0.1", env)


@pytest.fixture
def checkout(tmp_path: Path, wheel: bytes) -> Path:
    """A checkout whose lock names the wheel of the index."""
    digest = hashlib.sha256(wheel).hexdigest()
    entry = f'{{ url = "http://127.0.0.1:9/{WHEEL}", hash = "sha256:{digest}" }}'
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "uv.lock").write_text(f'[[package]]\nname = "uv"\nversion = "0.0.1"\nwheels = [{entry}]\n')
    return root


@pytest.fixture
def bare(index: str) -> dict[str, str]:
    """The environment of a machine without uv."""
    return {"PIP_INDEX_URL": index, "PATH": "/nonexistent"}


def test_a_fresh_uv_runs_and_is_found_again(bare: dict[str, str], checkout: Path) -> None:
    got = uv.ensure_uv(bare, checkout)
    assert subprocess.run([got], capture_output=True, text=True, check=True).stdout == "uv 0.0.1\n"
    assert uv.ensure_uv({"PATH": "/nonexistent"}, checkout) == got


def test_a_file_that_the_lock_does_not_name_is_refused(bare: dict[str, str], checkout: Path) -> None:
    lock = checkout / "uv.lock"
    lock.write_text(lock.read_text().replace("sha256:", "sha256:00"))
    with pytest.raises(steps.SetupError, match="its sha256 differs"):
        uv.ensure_uv(bare, checkout)
    assert [path.name for path in checkout.iterdir()] == ["uv.lock"]


def test_the_users_uv_is_taken_if_it_is_new_enough(bare: dict[str, str], checkout: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "bin" / "uv"
    theirs.parent.mkdir()
    theirs.write_text("#!/bin/sh\necho 'uv 0.99.1 (abc 2026-01-01)'\n")
    theirs.chmod(0o755)
    env = {**bare, "PATH": str(theirs.parent)}
    assert uv.ensure_uv(env, checkout) == theirs
    theirs.write_text("#!/bin/sh\necho uv 0.4.30\n")
    assert uv.ensure_uv(env, checkout) == checkout / "build" / "tools" / "uv-0.0.1"
