"""Every provider that lyc has, on its fake, as `tests.control.rented_world` wants it."""

from __future__ import annotations

from collections.abc import Mapping

from lyc.ports import Provider
from lyc.providers import lambda_cloud as lambda_kind
from lyc.providers import lyceum as lyceum_kind
from lyc.providers import runpod as runpod_kind
from lyc.providers import scaleway as scaleway_kind
from lyc.providers import sky as sky_kind
from lyc.providers import verda as verda_kind
from lyc.providers.lambda_cloud.provider import Lambda
from lyc.providers.lyceum.provider import Lyceum
from lyc.providers.runpod.provider import RunPod
from lyc.providers.scaleway.provider import ScalewayProvider
from lyc.providers.sky.provider import Sky
from lyc.providers.verda.provider import VerdaProvider
from lyc.records.secret import Secret
from lyc.testing.clouds import lambda_cloud, lyceum, runpod, scaleway, sky, verda
from lyc.testing.clouds.core import Cloud
from lyc.testing.clouds.server import App
from tests.control.rented_world import Clock, Shape

KEY = "a-key-of-a-test-0123456789"


def _lyceum(clock: Clock) -> tuple[Cloud, App]:
    cloud = lyceum.lyceum_cloud(clock=clock)
    return cloud, lyceum.lyceum_app(cloud)


def _verda(clock: Clock) -> tuple[Cloud, App]:
    cloud = Cloud(verda.CAPACITY, clock=clock)
    return cloud, verda.Verda(cloud).app()


def _runpod(clock: Clock) -> tuple[Cloud, App]:
    cloud = Cloud(runpod.CAPACITY, clock=clock)
    return cloud, runpod.app(cloud, KEY)


def _lambda(clock: Clock) -> tuple[Cloud, App]:
    cloud = Cloud(lambda_cloud.CAPACITY, clock=clock)
    return cloud, lambda_cloud.app(cloud, KEY)


def _scaleway(clock: Clock) -> tuple[Cloud, App]:
    cloud = scaleway.ScalewayCloud(scaleway.CAPACITY, clock=clock)
    return cloud, scaleway.Scaleway(cloud).app()


def _sky(clock: Clock) -> tuple[Cloud, App]:
    cloud = sky.Clusters(sky.CAPACITY, clock=clock)
    return cloud, sky.app(cloud, KEY)


def _open_lyceum(base: str, clock: Clock) -> Provider:
    return Lyceum(Secret(lyceum.KEY), clock=clock, endpoint=base, pause=clock.pass_)


def _open_verda(base: str, clock: Clock) -> Provider:
    client, secret = Secret(verda.CLIENT_ID), Secret(verda.CLIENT_SECRET)
    return VerdaProvider(client, secret, endpoint=f"{base}/v1", clock=clock, pause=clock.pass_)


def _open_runpod(base: str, clock: Clock) -> Provider:
    return RunPod(Secret(KEY), endpoint=base, clock=clock, pause=clock.pass_)


def _open_lambda(base: str, clock: Clock) -> Provider:
    return Lambda(Secret(KEY), endpoint=base, clock=clock, pause=clock.pass_, monotonic=clock)


def _open_scaleway(base: str, clock: Clock) -> Provider:
    secret = Secret(scaleway.SECRET_KEY)
    return ScalewayProvider(secret, scaleway.PROJECT, endpoint=base, clock=clock, pause=clock.pass_)


def _open_sky(base: str, clock: Clock) -> Provider:
    return Sky(Secret(base), Secret(KEY), clock=clock, pause=clock.pass_)


SHAPES: Mapping[str, Shape] = {
    "lyceum": Shape(lyceum_kind.CAPABILITIES, _lyceum, _open_lyceum),
    "verda": Shape(verda_kind.CAPABILITIES, _verda, _open_verda),
    "runpod": Shape(runpod_kind.CAPABILITIES, _runpod, _open_runpod),
    "lambda": Shape(lambda_kind.CAPABILITIES, _lambda, _open_lambda),
    "scaleway": Shape(scaleway_kind.CAPABILITIES, _scaleway, _open_scaleway),
    "sky": Shape(sky_kind.CAPABILITIES, _sky, _open_sky),
}
