"""Where credentials of providers come from, and how they lie on the disk."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from lyc.errors import Failed, NotAuthorised, UsageError
from lyc.ports import Provider
from lyc.providers.accounts import ProviderAccounts, installed
from lyc.records.rental import Capabilities, Credential
from lyc.records.secret import Secret

ABLE = Capabilities(
    name="acme", title="Acme", owner="Acme Oy", jurisdiction="FI", currency="EUR",
    credentials=(Credential("ACME_KEY", "an API key"), Credential("ACME_TEAM", "a team", secret=False, required=False)),
    credentials_page="https://acme.example/keys",
)  # fmt: skip


@dataclass
class Opened:
    """What a kind was opened with."""

    credentials: Mapping[str, Secret]
    endpoint: str | None


class Kind:
    capabilities = ABLE

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        return cast("Provider", Opened(dict(credentials), endpoint))


def accounts(tmp_path: Path, **environ: str) -> ProviderAccounts:
    return ProviderAccounts(tmp_path / "providers", environ, lambda: 0.0, {"acme": Kind()})


def opened(one: ProviderAccounts) -> Opened:
    return cast("Opened", one.open("acme"))


def secret(**values: str) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in values.items()}


def test_the_last_caller_wins_over_the_login_and_that_over_the_environment(tmp_path: Path) -> None:
    one = accounts(tmp_path, ACME_KEY="of-the-controller")
    assert one.sources() == {"acme": "the environment"}
    one.login("acme", secret(ACME_KEY="kept", ACME_TEAM="t"), keyring=False)
    assert opened(one).credentials == secret(ACME_KEY="kept", ACME_TEAM="t")
    one.hear(secret(ACME_KEY="of-a-caller", HF_TOKEN="x"))
    assert one.sources() == {"acme": "the last caller"}
    assert opened(one).credentials == secret(ACME_KEY="of-a-caller")
    one.settle({"acme"})
    assert opened(one).credentials == secret(ACME_KEY="of-a-caller"), "something is rented with it"
    one.settle(())
    assert opened(one).credentials == secret(ACME_KEY="kept", ACME_TEAM="t")
    assert one.logout("acme")
    assert opened(one).credentials == secret(ACME_KEY="of-the-controller")
    assert not one.logout("acme")


def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    one = accounts(tmp_path)
    one.login("acme", secret(ACME_KEY="kept"), keyring=False)
    one.hear(secret(ACME_KEY="heard"))
    files = list((tmp_path / "providers").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "providers").stat().st_mode) == 0o700


def test_what_lacks_a_part_that_is_needed_is_no_credential(tmp_path: Path) -> None:
    one = accounts(tmp_path, ACME_TEAM="t")
    one.hear(secret(ACME_TEAM="t"))
    assert one.sources() == {}
    with pytest.raises(NotAuthorised) as error:
        one.open("acme")
    assert error.value.ref == "no-provider-credential"
    assert "ACME_KEY" in error.value.why
    assert "https://acme.example/keys" in error.value.hint


def test_an_address_travels_with_the_credential_it_is_for(tmp_path: Path) -> None:
    one = accounts(tmp_path, LYC_ACME_ENDPOINT="http://controller")
    one.login("acme", secret(ACME_KEY="k"), keyring=False)
    assert opened(one).endpoint == "http://controller"
    one.hear(secret(ACME_KEY="k", LYC_ACME_ENDPOINT="http://caller"))
    assert opened(one).endpoint == "http://caller"
    assert "LYC_ACME_ENDPOINT" not in opened(one).credentials


def test_an_account_is_opened_once_for_a_credential(tmp_path: Path) -> None:
    one = accounts(tmp_path)
    one.login("acme", secret(ACME_KEY="first"), keyring=False)
    before = one.open("acme")
    assert one.open("acme") is before
    one.login("acme", secret(ACME_KEY="second"), keyring=False)
    assert one.open("acme") is not before


def test_a_trial_keeps_nothing(tmp_path: Path) -> None:
    one = accounts(tmp_path)
    assert cast("Opened", one.trial("acme", secret(ACME_KEY="k"))).credentials == secret(ACME_KEY="k")
    assert one.sources() == {}
    assert not (tmp_path / "providers").exists()
    for wrong, kind in ((secret(ACME_KEY="k", OTHER="x"), UsageError), (secret(ACME_TEAM="t"), NotAuthorised)):
        with pytest.raises(kind):
            one.trial("acme", wrong)


def test_wrong_names_and_broken_files(tmp_path: Path) -> None:
    one = accounts(tmp_path)
    with pytest.raises(UsageError) as error:
        one.open("acmee")
    assert (error.value.ref, error.value.hint) == ("unknown-provider", "did you mean acme?")
    with pytest.raises(UsageError) as error:
        one.login("acme", secret(ACME_PASSWORD="k"), keyring=False)
    assert error.value.ref == "unknown-credential"
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "acme.json").write_text("{")
    with pytest.raises(Failed) as broken:
        one.open("acme")
    assert broken.value.ref == "credentials-unreadable"


def test_the_keyring_holds_it_in_place_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keyring")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    import keyring.core

    keyring.core.init_backend()
    one = accounts(tmp_path)
    one.login("acme", secret(ACME_KEY="in-the-ring"), keyring=True)
    assert "in-the-ring" not in (tmp_path / "providers" / "acme.json").read_text()
    assert one.sources() == {"acme": "the keyring"}
    assert opened(one).credentials == secret(ACME_KEY="in-the-ring")
    assert one.logout("acme")
    assert one.sources() == {}


def test_what_is_installed_is_found_by_entry_point() -> None:
    found = installed()
    assert {"aws", "lambda", "lyceum", "runpod", "scaleway", "verda"} <= found.keys()
    for name, kind in found.items():
        assert kind.capabilities.name == name
        assert kind.capabilities.credentials_page.startswith("https://")
