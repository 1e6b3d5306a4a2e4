"""Where the parts of an endpoint stand, held against the rules."""

from __future__ import annotations

import pytest

from lyc.errors import NoFit
from lyc.renting.places import Place, bucket, check
from lyc.renting.rules import rules_of

EU, SOVEREIGN = rules_of(residency="eu"), rules_of(sovereign=True)
HERE = Place("gateway", "FI", "FI")


def refused(*places: Place, sovereign: bool = False) -> NoFit:
    with pytest.raises(NoFit) as error:
        check(places, SOVEREIGN if sovereign else EU)
    assert error.value.ref == "outside-residency"
    return error.value


@pytest.mark.parametrize(
    ("host", "region", "country", "jurisdiction"),
    [
        (None, "eu-central-1", "DE", "US"),
        (None, "us-east-1", "", "US"),
        (None, None, "", "US"),
        ("s3.fr-par.scw.cloud", None, "FR", "FR"),
        ("fsn1.your-objectstorage.com", None, "DE", "DE"),
        ("S3.GRA.io.cloud.ovh.net", "gra", "FR", "FR"),
        ("minio.internal", "eu-central-1", "", ""),
        ("evil-s3.fr-par.scw.cloud.example.com", None, "", ""),
    ],
)
def test_where_a_bucket_is(host: str | None, region: str | None, country: str, jurisdiction: str) -> None:
    found = bucket("models", host, region, "")
    assert (found.country, found.jurisdiction) == (country, jurisdiction)


def test_what_the_user_says_of_a_bucket_holds() -> None:
    assert bucket("models", "minio.internal", None, "DE") == Place("bucket models", "DE", "DE")


def test_without_rules_everything_may_be_anywhere() -> None:
    check((Place("gateway", "", ""),), rules_of())


def test_what_is_not_known_is_refused_with_how_to_say_it() -> None:
    error = refused(Place("gateway", "", "", "export LYC_COUNTRY=DE"), Place("host box", "US", "US"))
    assert "not known" in error.why
    assert error.hint == "export LYC_COUNTRY=DE"
    assert error.detail == ("host box: it is in US; it must be the EU",)


def test_a_place_elsewhere_is_refused() -> None:
    assert "it is in US" in refused(HERE, Place("host box", "US", "US")).why


def test_a_foreign_owner_is_refused_where_sovereignty_is_asked_for() -> None:
    there = bucket("models", None, "eu-central-1", "")
    check((HERE, there), EU)
    assert "CLOUD Act" in refused(HERE, there, sovereign=True).why
    check((HERE, bucket("models", "s3.fr-par.scw.cloud", None, "")), SOVEREIGN)
