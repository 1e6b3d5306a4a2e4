"""A real `moto_server` process: EC2 as far as moto knows it. It needs the package `moto[ec2]` and `flask-cors`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

IMAGE = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """kind: the content type."""

    status: int
    body: bytes
    kind: str


class Moto:
    """A running one, at a port of 127.0.0.1. It checks no signature."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._kept: dict[tuple[str, bytes], Answer] = {}

    def send_once(self, body: bytes, headers: Mapping[str, str], region: str) -> Answer:
        """`send`, or the answer that it gave to the same before: for what never changes, as facts of cards."""
        if (region, body) not in self._kept:
            self._kept[region, body] = self.send(body, headers)
        return self._kept[region, body]

    def send(self, body: bytes, headers: Mapping[str, str], path: str = "/") -> Answer:
        """One POST. headers: the region and service are in `authorization`, as a signature names them."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers.get("content-type", ""))
        finally:
            connection.close()

    def reset(self) -> None:
        """As it was at the start: nothing is there."""
        if self.send(b"", {}, "/moto-api/reset").status != 200:
            raise AssertionError("moto does not forget")


@contextlib.contextmanager
def start() -> Iterator[Moto]:
    """A server of its own on a free port of 127.0.0.1, with AWS's images for GPUs of three days."""
    with tempfile.TemporaryDirectory(prefix="lyc-moto-") as folder:
        log, images = Path(folder, "log"), Path(folder, "images.json")
        images.write_text(json.dumps([_image(*row) for row in enumerate(("20260929", "20261006", "20260918"))]))
        program = Path(sys.executable).with_name("moto_server")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [str(program if program.exists() else "moto_server"), "-H", "127.0.0.1", "-p", "0"],
                stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
                env={**os.environ, "MOTO_AMIS_PATH": str(images), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        try:
            yield Moto(_port(process, log))
        finally:
            process.kill()  # it keeps nothing, and takes seconds to end by itself
            process.wait(20)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"moto_server does not start: {log.read_text()}")
        time.sleep(0.02)
    return int(found[1])


def _image(number: int, day: str) -> dict[str, object]:
    return {
        "ami_id": f"ami-{number:08x}",
        "name": f"{IMAGE} {day}",
        "description": "",
        "owner_id": "898082745236",
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "x86_64",
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": f"{day[:4]}-{day[4:6]}-{day[6:]}T08:00:00.000Z",
    }
