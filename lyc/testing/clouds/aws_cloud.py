"""A `Cloud` whose machines and things stand in a moto server; what is put here is put there."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

from lyc.records.rental import machine_name, run_id_of
from lyc.testing.clouds import aws_words as words
from lyc.testing.clouds.core import Cloud, FakeMachine, Thing
from lyc.testing.clouds.moto import Answer, Moto

KEY_ID, SECRET_KEY, TOKEN = "AKIAOFTESTSONLY00000", "aws-s3cret-of-tests-only", "aws-session-token-of-tests-only"
REGIONS = ("eu-central-1", "eu-north-1")
CAPACITY: Mapping[str, int | None] = {
    "eu-central-1/g5.xlarge": 4,
    "eu-central-1/g6e.12xlarge": None,
    "eu-central-1/g5.xlarge/spot/eu-central-1b": 1,
    "eu-north-1/p5.48xlarge": 1,
    "eu-north-1/g6.xlarge": 0,
    "eu-north-1/m7i.4xlarge": 1,
}
"""Machines by offer, for a layer that is given none."""
TAG = "lyc-run"

_PUT = {
    "volume": ("CreateVolume", "volume", "volumeId", {"Size": "10", "AvailabilityZone": "{region}a"}),
    "address": ("AllocateAddress", "elastic-ip", "allocationId", {"Domain": "vpc"}),
    "group": ("CreateSecurityGroup", "security-group", "groupId", {"GroupName": "{name}", "GroupDescription": "x"}),
    "key": ("ImportKeyPair", "key-pair", "keyPairId", {"KeyName": "{name}"}),
}
_PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdXGzVRz9B8AHGyqLSUOhh4AXr1eJ7sWnjR0C3y9bXk of-a-test"


class AwsCloud(Cloud):
    """Ids of machines are `<region>/<instance>`. region: where is put what is put without one."""

    def __init__(self, moto: Moto, capacity: Mapping[str, int | None] = CAPACITY, **rest: Any) -> None:
        super().__init__(capacity, **rest)
        moto.reset()
        self.moto = moto
        self.region = REGIONS[0]

    def ask(self, region: str, action: str, **params: str) -> Answer:
        return self.moto.send(urlencode({"Action": action, "Version": "2016-11-15", **params}).encode(), _as(region))

    def put_foreign(self, name: str, offer: str = "", region: str = "", identity: str | None = None) -> FakeMachine:
        with self.lock:
            where = region or self.region
            made = identity or f"{where}/{self._run(where, _tagged('instance', name))[0]}"
            return super().put_foreign(name, offer, where, identity=made)

    def put_many(self, owner: str, count: int, region: str = "") -> list[FakeMachine]:
        with self.lock:
            where, made = region or self.region, []
            # One tag for all, which moto finds them by; the layer shows each its own: 300 calls would take seconds.
            ids = self._run(where, _tagged("instance", machine_name(f"{owner}-00000000")), count)
            for number, identity in enumerate(ids):
                name = machine_name(f"{owner}-{number:08x}")
                machine = super().put_foreign(name, region=where, identity=f"{where}/{identity}")
                machine.foreign = False
                made.append(machine)
            self.ever += made
            return made

    def put(
        self, kind: str, name: str, *, identity: str | None = None, machine: str | None = None, **data: Any
    ) -> Thing:
        with self.lock:
            region = str(data.setdefault("region", self.region))
            if identity is None:
                action, of, key, rest = _PUT[kind]
                params = {name_: value.format(region=region, name=name) for name_, value in rest.items()}
                if kind == "key":
                    params["PublicKeyMaterial"] = base64.b64encode(_PUBLIC_KEY.encode()).decode()
                answer = self.ask(region, action, **params, **_tagged(of, name))
                root = Xml.fromstring(answer.body)  # noqa: S314  (moto's)
                identity = root.findtext(f".//{words.tag(key)}")
                if answer.status != 200 or not identity:
                    raise AssertionError(f"{action}: {answer.status} {answer.body!r}")
            return super().put(kind, name, identity=identity, machine=machine, **data)

    def end(self, identity: str) -> FakeMachine | None:
        with self.lock:
            for thing in [thing for thing in self.things.values() if thing.machine == identity]:
                self.drop(thing.id)
            return super().end(identity)

    def _run(self, region: str, tags: Mapping[str, str], count: int = 1) -> list[str]:
        many = {"MinCount": str(count), "MaxCount": str(count), "ImageId": "ami-00000001"}
        answer = self.ask(region, "RunInstances", InstanceType="g5.xlarge", **many, **tags)
        root = Xml.fromstring(answer.body)  # noqa: S314  (moto's)
        return [words.text(item, "instanceId") for _, item in words.items(root, "instancesSet")]


def _as(region: str) -> dict[str, str]:
    scope = f"{KEY_ID}/20261101/{region}/ec2/aws4_request"
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "content-type": "application/x-www-form-urlencoded",
    }


def _tagged(kind: str, name: str) -> dict[str, str]:
    at = "TagSpecification.1"
    tags = {f"{at}.ResourceType": kind, f"{at}.Tag.1.Key": "Name", f"{at}.Tag.1.Value": name}
    run_id = run_id_of(name)
    return {**tags, f"{at}.Tag.2.Key": TAG, f"{at}.Tag.2.Value": run_id} if run_id else tags
