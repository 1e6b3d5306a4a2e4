"""The walk of `test_never_an_orphan` where a create may be repeated: EC2, by its own client, in front of a moto server.

Only what is particular there is walked by default: from the order to the machine, and its end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from lyc.ports import Provider
from lyc.providers.aws import CAPABILITIES
from lyc.providers.aws.api import Aws
from lyc.providers.aws.provider import Ec2
from lyc.records.secret import Secret
from lyc.testing.clouds import aws, moto
from lyc.testing.clouds.aws_cloud import KEY_ID, SECRET_KEY, TOKEN, AwsCloud
from lyc.testing.clouds.core import Cloud
from lyc.testing.clouds.server import App
from tests.control.rented_world import Clock, Front, Mishap, Point, Shape, World, post, served
from tests.control.test_never_an_orphan import told, walk

pytestmark = pytest.mark.slow
EVERY = bool(os.environ.get("LYC_EVERY_POINT"))
REGION = "eu-north-1"
CREATE, END = "POST RunInstances", "POST TerminateInstances"
_SEND = URLLib3Session.send


def _action(request: AWSPreparedRequest) -> str:
    """`POST RunInstances`; what only reads as GET."""
    body = request.body or b""
    text = body.decode() if isinstance(body, bytes) else str(body)
    action = next((part[7:] for part in text.split("&") if part.startswith("Action=")), "GetProducts")
    return f"{'GET' if action.startswith(('Describe', 'Get')) else 'POST'} {action}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with moto.start() as server, served(tmp_path_factory.mktemp("aws")) as front:

        def make(clock: Clock) -> tuple[Cloud, App]:
            cloud = AwsCloud(server, {f"{REGION}/p5.48xlarge": 3}, clock=clock)
            cloud.region = REGION
            return cloud, aws.app(cloud, page=100)[0]

        def opened(base: str, clock: Clock) -> Provider:
            keys: Mapping[str, Secret] = {
                "AWS_ACCESS_KEY_ID": Secret(KEY_ID),
                "AWS_SECRET_ACCESS_KEY": Secret(SECRET_KEY),
                "AWS_SESSION_TOKEN": Secret(TOKEN),
            }
            return Ec2(Aws(keys, endpoint=base, pause=clock.pass_), regions=frozenset({REGION}), clock=clock)

        def send(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            if not request.url.startswith(front.base):
                return _SEND(session, request)
            body = request.body or b""
            data = body if isinstance(body, bytes) else str(body).encode()
            headers: dict[str, Any] = {
                name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
            }
            return front.wire.send(
                _action(request),
                lambda: _SEND(session, request),
                lambda: post(request.method, request.url, headers, data),
                lambda: ReadTimeoutError(endpoint_url=request.url),
            )

        front.name, front.began = "aws", time.time  # by which moto says when it has made a machine
        front.shape = Shape(CAPABILITIES, make, opened)
        URLLib3Session.send = send
        try:
            yield front
        finally:
            URLLib3Session.send = _SEND


@pytest.fixture(scope="module")
def points(front: Front) -> tuple[Point, ...]:
    world = World(front.shape, front)
    world.wire.counting = True
    assert world.deploy() is None
    world.down()
    seen = tuple(world.wire.seen)
    assert {CREATE, END} <= {one.what for one in seen}
    first = next(number for number, one in enumerate(seen) if one.what == CREATE) - 1
    return tuple(one for one in (seen if EVERY else seen[first:]) if one.changes or one.what == "write")


@pytest.mark.parametrize("resume", [True, False] if EVERY else [True])
def test_killed(front: Front, points: tuple[Point, ...], resume: bool) -> None:
    """After each point; which is before the next one."""
    for point in points:
        with told(point):
            assert len(walk(front, (Mishap(point, "after"),), resume=resume).cloud.ever) <= 1


@pytest.mark.parametrize("kind", ["lost", "doubled", "delayed"])
def test_an_answer_goes_astray(front: Front, points: tuple[Point, ...], kind: str) -> None:
    """The key of the order is the run id, so that there is one machine whatever was repeated."""
    for point in points:
        if point.what in (CREATE, END) or (EVERY and point.changes):
            with told(point):
                assert len(walk(front, (Mishap(point, kind),)).cloud.ever) == 1
