"""What a machine needs before it is made: an image with a driver, and a security group that lets SSH in."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from lyc.errors import Failed, LycError
from lyc.providers.aws import codes
from lyc.providers.aws.api import Answered, Aws, where
from lyc.providers.aws.translate import ARCHITECTURE, newest, tags
from lyc.records.rental import Order

IMAGE = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) ????????"
"""AWS's own image with NVIDIA's driver, of any day: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html"""

_SSH = {
    "IpProtocol": "tcp",
    "FromPort": 22,
    "ToPort": 22,
    "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
}


class Ground:
    """Of one account. Raises what `lyc.ports.Provider` says."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def image(self, region: str) -> Mapping[str, Any]:
        """The newest image with a driver."""
        filters = [where("name", IMAGE), where("architecture", ARCHITECTURE), where("state", "available")]
        told = self._ec2(region, "describe_images", again=True, Owners=["amazon"], Filters=filters)
        image = newest(told.get("Images") or ())
        if image is None:
            what = f"AWS has no image {IMAGE!r} in {region}"
            raise Failed("provider-refused", what, where=f"ec2 describe_images {region}")
        return image

    def group(self, region: str, order: Order) -> str:
        """The machine's own security group, which lets in SSH and nothing else."""
        told = self._ec2(region, "describe_vpcs", again=True, Filters=[where("is-default", "true")])
        networks = told.get("Vpcs") or ()
        if not networks:
            raise codes.no_network(f"ec2 describe_vpcs {region}")
        network = networks[0]["VpcId"]
        try:
            group = str(self._ec2(
                region, "create_security_group", again=True, known=frozenset({"InvalidGroup.Duplicate"}),
                GroupName=order.name, Description="lyc: SSH alone", VpcId=network,
                TagSpecifications=tags(order.run_id, "security-group"),
            )["GroupId"])  # fmt: skip
        except Answered:
            named = [where("group-name", order.name), where("vpc-id", network)]
            found = self._ec2(region, "describe_security_groups", again=True, Filters=named).get("SecurityGroups") or ()
            if not found:
                raise codes.odd("a group exists and is not listed", f"ec2 create_security_group {region}") from None
            group = str(found[0]["GroupId"])
        try:
            with contextlib.suppress(Answered):
                self._ec2(
                    region, "authorize_security_group_ingress", again=True,
                    known=frozenset({"InvalidPermission.Duplicate"}), GroupId=group, IpPermissions=[_SSH],
                )  # fmt: skip
        except LycError as error:
            if codes.nothing_made(error):
                self.drop(region, group)
            raise
        return group

    def drop(self, region: str, group: str) -> None:
        """Remove a group; one that cannot be removed now is found among the leftovers."""
        with contextlib.suppress(Answered, LycError):
            self._ec2(region, "delete_security_group", again=True, known=codes.MISSING, GroupId=group)

    def _ec2(self, region: str, operation: str, **params: Any) -> Mapping[str, Any]:
        return self._aws.call("ec2", region, operation, **params)
