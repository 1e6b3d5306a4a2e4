"""What a fake cloud rents out: hosts of the lab, started when a machine boots and taken away when it ends."""

from __future__ import annotations

import json
import shlex
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lyc.testing.clouds.core import Address, Cloud, FakeMachine
from tests.lab.fixtures import lend_engines
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.network import SUBNET

CLOUD_CONFIG = "#cloud-config\n"


class Rack:
    """`boot` and `halt` of a cloud whose machines log in as `user`. power: while it is clear, none of them comes up."""

    def __init__(self, lab: Lab, user: str) -> None:
        self.power = threading.Event()
        self.power.set()
        self._lab = lab
        self._user = user
        self._work = ThreadPoolExecutor(1, thread_name_prefix="rack")  # one after the other, in order
        self._booting: set[str] = set()
        self._hosts: dict[str, Machine] = {}
        self._done: list[Future[None]] = []

    def hold(self, cloud: Cloud) -> None:
        """From now on the cloud's machines stand here."""
        cloud.boot, cloud.halt = self.boot, self.halt

    def boot(self, fake: FakeMachine) -> Address | None:
        """Its address, once sshd answers there. The key comes a moment later, as with cloud-init."""
        if not self.power.is_set():
            return None
        if fake.id not in self._booting:
            self._booting.add(fake.id)
            self._done.append(self._work.submit(self._start, fake))
        host = self._hosts.get(fake.id)
        return Address(host.address) if host else None

    def halt(self, fake: FakeMachine) -> None:
        self._done.append(self._work.submit(self._end, fake))

    def host(self, fake: FakeMachine) -> Machine:
        return self._hosts[fake.id]

    def hosts(self) -> list[Machine]:
        """Those that are there, on or off."""
        return list(self._hosts.values())

    def ssh_config(self) -> str:
        """For a home: how addresses of the lab are reached. No key and no user: those are lyc's to know."""
        way = self._lab.network.proxy_command(10.0)
        return f"Host {SUBNET}.*\n  ProxyCommand {way}\n  ProxyUseFdpass yes\n"

    def close(self) -> None:
        """Nothing stands here any more. Raises what went wrong while hosts came and went."""
        self._work.shutdown()
        if left := self.hosts():
            self._lab.give_back(left, spoiled=True)
        for one in self._done:
            one.result()

    def _start(self, fake: FakeMachine) -> None:
        (host,) = lend_engines(self._lab, 1)
        self._hosts[fake.id] = host
        first = _first_start(fake.payload)
        home = f"/home/{self._user}"
        script = [f"id {self._user} >/dev/null 2>&1 || useradd -m -s /bin/bash -p '*' {self._user}"]
        script += [f"echo '{self._user} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/{self._user}"]
        script += [f"install -d -m 700 -o {self._user} -g {self._user} {home}/.ssh"]
        script += [f"printf '%s\\n' {' '.join(map(shlex.quote, first['keys']))} >{home}/.ssh/authorized_keys"]
        script += [f"chown {self._user}: {home}/.ssh/authorized_keys; chmod 600 {home}/.ssh/authorized_keys"]
        host.shell(" && ".join(script))
        for file in first["files"]:
            quoted = shlex.quote(file["path"])
            host.shell(f"cat >{quoted} && chmod {file['permissions']} {quoted}", stdin=file["content"])
        for command in first["commands"]:
            host.shell(shlex.join(command))

    def _end(self, fake: FakeMachine) -> None:
        if host := self._hosts.pop(fake.id, None):
            self._lab.give_back([host], spoiled=True)


def _first_start(payload: Any) -> dict[str, Any]:
    """What a machine is to do at its first start, from the body of Lyceum's create or the user data of EC2's."""
    text = str(payload.get("UserData", ""))
    if not text:
        return {"keys": [payload["user_public_key"]], "files": [], "commands": []}
    assert text.startswith(CLOUD_CONFIG), text
    told = json.loads(text.removeprefix(CLOUD_CONFIG))
    return {"keys": told["ssh_authorized_keys"], "files": told["write_files"], "commands": told["runcmd"]}
