"""The uv to use: one that is here already, or the wheel that `uv.lock` pins, checked against the lock's sha256."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

from bootstrap.machine import mirror
from bootstrap.steps import ROOT, SetupError, step

LEAST_UV = (0, 9)


def ensure_uv(env: Mapping[str, str], root: Path = ROOT) -> Path:
    """The environment's own uv, an earlier run's, the user's if it is new enough, or a fresh one. Raises SetupError."""
    version, wheels = locked_uv(root)
    mine = root / "build" / "tools" / f"uv-{version}"
    for known in (root / ".venv" / "bin" / "uv", mine):
        if known.exists():
            return known
    theirs = shutil.which("uv", path=env.get("PATH"))
    if theirs and uv_version(Path(theirs)) >= LEAST_UV:
        return Path(theirs)
    name = next((name for name in wheels if fits(name)), None)
    if name is None:
        raise SetupError(
            f"there is no wheel of uv {version} for {platform.system()} {platform.machine()}; "
            "install uv (https://docs.astral.sh/uv) and run this again"
        )
    url, sha256 = wheels[name]
    with step(f"uv {version}"), tempfile.TemporaryDirectory() as scratch:
        wheel = fetch(name, url, Path(scratch), version, env)
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
            raise SetupError(f"{name} is not the file that uv.lock names: its sha256 differs. Nothing was installed")
        return unpack(wheel, mine)


def uv_version(uv: Path) -> tuple[int, ...]:
    """`uv 0.13.9 (…)` → (0, 13, 9); a uv that does not answer is (0,)."""
    done = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return tuple(int(part) for part in words[1].split(".") if part.isdigit()) if len(words) > 1 else (0,)


def locked_uv(root: Path = ROOT) -> tuple[str, dict[str, tuple[str, str]]]:
    """The version of uv in uv.lock, and its wheels: file name → (URL, sha256)."""
    import tomllib  # noqa: PLC0415 - absent before Python 3.11, which `check_python` reports first

    lock = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))
    package = next(package for package in lock["package"] if package["name"] == "uv")
    return package["version"], {
        wheel["url"].rsplit("/", 1)[1]: (wheel["url"], wheel["hash"].removeprefix("sha256:"))
        for wheel in package["wheels"]
    }


def fits(wheel: str) -> bool:
    """Whether a wheel's platform tag is this machine's."""
    system = {"Linux": "manylinux", "Darwin": "macosx"}.get(platform.system(), "none")
    if system == "manylinux" and platform.libc_ver()[0] != "glibc":
        system = "musllinux"
    tags = wheel.removesuffix(".whl").rsplit("-", 1)[1].split(".")
    return any(tag.startswith(system) and tag.endswith(f"_{platform.machine()}") for tag in tags)


def fetch(name: str, url: str, into: Path, version: str, env: Mapping[str, str]) -> Path:
    """The wheel, from the mirror if one is set, else from where the lock says; by pip where that fails."""
    index = mirror(env)
    try:
        if index:
            page = index.rstrip("/") + "/uv/"
            url = links(page, read(page, env).decode())[name]
        (into / name).write_bytes(read(url, env))
    except (OSError, KeyError) as error:
        if not pip_download(f"uv=={version}", into, env) or not (into / name).exists():
            raise SetupError(
                f"could not fetch {name}: {error}\n"
                "Behind a proxy set HTTPS_PROXY; for a mirror of PyPI set PIP_INDEX_URL; for a certificate of your own "
                "set SSL_CERT_FILE. Or install uv by any way and run this again"
            ) from error
    return into / name


def read(url: str, env: Mapping[str, str]) -> bytes:
    """The body behind a URL, whose `user:password@` is sent as basic authentication. Raises OSError."""
    parts = urllib.parse.urlsplit(url)
    bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare, headers={"Accept": "text/html, */*;q=0.9", "User-Agent": "lyc-bootstrap"})
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        # Unredirected: a mirror that sends us on to a store of files must not send the password along.
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    context = ssl.create_default_context(cafile=env.get("SSL_CERT_FILE") or None)
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        body: bytes = answer.read()
    return body


def links(page: str, html: str) -> dict[str, str]:
    """File name → absolute URL, from one project's page of a package index (PEP 503)."""
    found: dict[str, str] = {}

    class Anchors(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            href = dict(attrs).get("href") if tag == "a" else None
            if href:
                target = urllib.parse.urljoin(page, href).partition("#")[0]
                found[urllib.parse.unquote(target.rsplit("/", 1)[1])] = target

    Anchors().feed(html)
    return found


def pip_download(requirement: str, into: Path, env: Mapping[str, str]) -> bool:
    """Fetch with pip, which knows `pip.conf`, keyrings and more. False where there is no pip or it fails too."""
    if importlib.util.find_spec("pip") is None:
        return False
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(into)]
    return subprocess.run([*argv, requirement], env=env, stdout=sys.stderr, check=False).returncode == 0


def unpack(wheel: Path, target: Path) -> Path:
    """Put the one binary of uv's wheel at `target`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            part.write(archive.read(member))
    Path(part.name).chmod(0o755)
    return Path(part.name).replace(target)
