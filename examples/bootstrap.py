"""What a fresh machine lacks, brought in: uv, and lyc's own environment in `.venv`.

Standard library only, so that it runs where nothing else has been installed: no pip, no ensurepip, no uv. Both
commands of the README begin here. Everything is idempotent; a run that finds all in place takes a fraction of a second.

uv is the one that `uv.lock` pins, fetched as a wheel and checked against the lock's sha256. The usual settings are
honoured: `UV_DEFAULT_INDEX`, `UV_INDEX_URL` or `PIP_INDEX_URL` (a mirror of PyPI), `SSL_CERT_FILE` or `PIP_CERT`,
`HTTPS_PROXY`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "tools"
BIN = ROOT / ".venv" / "bin"
LEAST_PYTHON = (3, 11)
LEAST_UV = (0, 9)


class SetupError(Exception):
    """What is missing on this machine, and what to do about it. Shown without a traceback."""


def say(text: str) -> None:
    """One line of talk, at once, on stderr: stdout is for answers."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show what begins, and how long it took."""
    say(f"==> {title}")
    began = time.monotonic()
    yield
    say(f"    {title}: done in {time.monotonic() - began:.1f}s")


def run(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Run a command whose output the user sees. Raises SetupError if it fails."""
    done = subprocess.run([str(word) for word in argv], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(str(word) for word in argv)}` ended with exit code {done.returncode}")


def prepare(*, dev: bool) -> dict[str, str]:
    """Make `.venv` hold lyc and its dependencies as locked (with dev: its tools too). Returns the environment to use.

    Without dev, tools that an earlier run put there stay. Raises SetupError.
    """
    check_python()
    env = settings(os.environ)
    ensure_certificates(env)
    uv = ensure_uv(env)
    with step("lyc and its dependencies, as locked in uv.lock"):
        fresh = [] if (BIN / "python").exists() else ["--python", sys.executable]
        run([uv, "sync", "--frozen", *fresh, *([] if dev else ["--no-dev", "--inexact"])], env)
    return {**env, "PATH": f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}", "VIRTUAL_ENV": str(BIN.parent)}


def check_python() -> None:
    """Say clearly which Python is needed, instead of failing somewhere inside."""
    if sys.version_info < LEAST_PYTHON:
        need = ".".join(map(str, LEAST_PYTHON))
        raise SetupError(
            f"lyc needs Python {need} or newer; this is {platform.python_version()} ({sys.executable}).\n"
            f"Install one (Ubuntu 22.04: `apt-get install python{need}`) and run: python{need} {' '.join(sys.argv)}"
        )


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for everything that follows: pip's certificate setting holds for uv and Python as well."""
    env = {name: value for name, value in environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    if env.get("PIP_CERT") and not env.get("SSL_CERT_FILE"):
        env["SSL_CERT_FILE"] = env["PIP_CERT"]
    return env


def ensure_certificates(env: Mapping[str, str]) -> None:
    """A bare Debian has no certificate authorities, and so no HTTPS: install them, or say how."""
    paths = ssl.get_default_verify_paths()
    directory = Path(env.get("SSL_CERT_DIR") or paths.capath or "/nonexistent")
    if env.get("SSL_CERT_FILE") or paths.cafile or (directory.is_dir() and any(directory.iterdir())):
        return
    command = "apt-get install -y --no-install-recommends ca-certificates"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(f"this machine has no certificate authorities, so HTTPS cannot work; as root: {command}")
    with step("certificate authorities (apt: ca-certificates)"):
        quiet = {**env, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], quiet)
        run(command.split(), quiet)


def ensure_uv(env: Mapping[str, str]) -> Path:
    """The uv to use: the environment's own, the user's if it is new enough, or the one that the lock pins."""
    version, wheels = locked_uv()
    for known in (BIN / "uv", TOOLS / f"uv-{version}"):
        if known.exists():
            return known
    theirs = shutil.which("uv")
    if theirs and uv_version(Path(theirs)) >= LEAST_UV:
        return Path(theirs)
    name, (url, sha256) = next(((name, wheel) for name, wheel in wheels.items() if fits(name)), ("", ("", "")))
    if not name:
        raise SetupError(
            f"there is no wheel of uv {version} for {platform.system()} {platform.machine()}; "
            "install uv (https://docs.astral.sh/uv) and run this again"
        )
    with step(f"uv {version}"), tempfile.TemporaryDirectory() as scratch:
        wheel = fetch(name, url, Path(scratch), version, env)
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
            raise SetupError(f"{name} is not the file that uv.lock names: its sha256 differs. Nothing was installed")
        return unpack(wheel, TOOLS / f"uv-{version}")


def uv_version(uv: Path) -> tuple[int, ...]:
    """`uv 0.13.9 (…)` → (0, 13, 9); a uv that does not answer is (0,)."""
    done = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return tuple(int(part) for part in words[1].split(".") if part.isdigit()) if len(words) > 1 else (0,)


def locked_uv() -> tuple[str, dict[str, tuple[str, str]]]:
    """The version of uv in uv.lock, and its wheels: file name → (URL, sha256)."""
    import tomllib  # noqa: PLC0415 - absent before Python 3.11, which `check_python` reports first

    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
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
    """The wheel, from the mirror if one is set, else from where the lock says; pip's own way if that fails."""
    mirror = next((env[key] for key in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL") if env.get(key)), None)
    try:
        if mirror:
            page = mirror.rstrip("/") + "/uv/"
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
