"""What clients of Docker and Podman are told, where no host of the lab can show it: cards, registries, odd values."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path

import pytest

from lyc.agent.answer import Refused
from lyc.agent.containers import Box, Runtime, command, environment
from lyc.agent.images import qualified
from lyc.agent.shim import engine_code

ROOT = Path("/var/lib/lyc")
DOCKER, PODMAN = Runtime("docker", "/usr/bin/docker"), Runtime("podman", "/usr/bin/podman", reaper=False)


def box(**more: object) -> Box:
    known = {"name": "lyc-a.1", "image": "i:1", "argv": ("vllm", "serve", "/m"), "user": "7:8", "root": ROOT}
    return Box(**(known | {"environment": ROOT / "environment"} | more))  # type: ignore[arg-type]


def after(words: list[str], flag: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == flag]


def test_cards_are_named_as_each_client_names_them() -> None:
    docker, podman = command(DOCKER, box(cards=(0, 3))), command(PODMAN, box(cards=(0, 3)))
    assert after(docker, "--gpus") == ['"device=0,3"']
    assert after(docker, "--device") == []
    assert after(podman, "--device") == ["nvidia.com/gpu=0", "nvidia.com/gpu=3"]
    assert "--gpus" not in podman
    assert not {"--gpus", "--device"} & set(command(DOCKER, box()))
    amd = command(DOCKER, box(nodes=("/dev/kfd", "/dev/dri/renderD129"), groups=(44, 110)))
    assert after(amd, "--device") == ["/dev/kfd", "/dev/dri/renderD129"]
    assert after(amd, "--group-add") == ["44", "110"]


def test_the_command_of_the_engine_comes_last_and_only_then_the_image() -> None:
    for runtime in (DOCKER, PODMAN):
        words = command(runtime, box())
        assert words[-5:] == ["--entrypoint", "vllm", "i:1", "serve", "/m"]
        assert after(words, "--pull") == ["never"]
        assert after(words, "--user") == ["7:8"]
        assert ("--init" in words) == runtime.reaper


def test_only_a_rootless_podman_maps_its_user() -> None:
    rootless = Runtime("podman", "/usr/bin/podman", rootless=True)
    assert after(command(rootless, box()), "--userns") == ["keep-id"]
    assert "--userns" not in command(PODMAN, box())
    assert after(command(PODMAN, box()), "--pids-limit") == ["-1"]
    assert not {"--sdnotify", "--pids-limit", "--events-backend", "--stop-timeout"} & set(command(DOCKER, box()))


def test_values_stand_as_they_are_or_are_refused() -> None:
    assert environment({"A": "'x' # y", "B": ""}) == "A='x' # y\nB=\n"
    for value in ("two\nlines", "a\rb"):
        with pytest.raises(Refused):
            environment({"A": value})


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ("vllm/vllm-openai:v1", "docker.io/vllm/vllm-openai:v1"),
        ("engine:1", "docker.io/library/engine:1"),
        ("quay.io/team/engine:1", "quay.io/team/engine:1"),
        ("box:5000/engine:1", "box:5000/engine:1"),
        ("localhost/engine:1", "localhost/engine:1"),
    ],
)
def test_a_registry_that_is_not_named_is_dockers(written: str, whole: str) -> None:
    assert qualified(written) == whole


def test_exit_codes_of_clients_are_those_of_the_engine() -> None:
    assert [engine_code(code) for code in (0, 1, 125, 127, 137, 143)] == [
        0, 1, 125, 127, -signal.SIGKILL, -signal.SIGTERM,
    ]  # fmt: skip
