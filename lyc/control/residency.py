"""Where everything of a deployment stands, held against its rules before anything is asked, fetched or rented."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lyc.control.deps import Deps
from lyc.records.deployment import DeploymentSpec
from lyc.records.host import LOCAL
from lyc.records.model import SourceKind
from lyc.records.secret import Secret
from lyc.renting.places import Place, bucket, check
from lyc.renting.rules import Rules, rules_of
from lyc.spec.model_ref import parse_model

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def rules_for(spec: DeploymentSpec) -> Rules:
    """What may be rented and used for it. Raises what `rules_of` raises."""
    rent = spec.rent
    return rules_of(
        residency=rent.residency,
        sovereign=rent.sovereign,
        max_price=rent.max_price,
        spot=rent.spot,
        providers=rent.providers,
    )


def check_here(deps: Deps, spec: DeploymentSpec, credentials: Mapping[str, Secret]) -> None:
    """The gateway and the logs, which are on this machine, and the buckets of model and draft.

    Raises NoFit `outside-residency`.
    """
    rules = rules_for(spec)
    country = deps.settings.country
    hint = "say where this machine stands: export LYC_COUNTRY=DE, then: lyc controller restart"
    places = [Place(kind, country, country, hint) for kind in ("gateway", "logs")]
    draft = spec.speculative.model if spec.speculative else None
    for written in (spec.model, draft):
        ref = parse_model(written, cwd=Path("/"), is_dir=Path.is_dir) if written else None
        if ref is not None and ref.kind is SourceKind.S3:
            said = _said(credentials, _ENDPOINTS)
            endpoint = spec.s3_endpoint or said
            host = urlsplit(endpoint).hostname if endpoint else None
            name = ref.location.partition("/")[0]
            places.append(bucket(name, host, _said(credentials, _REGIONS), deps.settings.bucket_country))
    check(tuple(places), rules)


def check_host(deps: Deps, spec: DeploymentSpec) -> None:
    """The machine that it is to run on. Raises NoFit `outside-residency`, and NotFound `no-such-host`.

    A rented one answers to the law of its provider's owner, one of the user's own to that of where it stands.
    """
    if spec.host == LOCAL:
        country = jurisdiction = deps.settings.country
        hint = "say where this machine stands: export LYC_COUNTRY=DE, then: lyc controller restart"
    else:
        host = deps.store.host(spec.host).host
        country = jurisdiction = host.country
        hint = f"say where it stands: lyc hosts add {host.address} --name {host.name} --country DE"
        rental = deps.store.rental(host.rental) if host.rental else None
        if rental is not None:
            kind = deps.accounts.kinds().get(rental.provider)
            jurisdiction = rental.offer.jurisdiction or (kind.capabilities.jurisdiction if kind is not None else "")
    check((Place(f"host {spec.host}", country, jurisdiction, hint),), rules_for(spec))


def _said(credentials: Mapping[str, Secret], names: tuple[str, ...]) -> str | None:
    return next((one.reveal() for name in names if (one := credentials.get(name))), None)
