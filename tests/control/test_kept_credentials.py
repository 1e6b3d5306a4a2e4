"""Credentials of sources that stay for as long as a deployment may need another machine."""

from __future__ import annotations

from pathlib import Path

from lyc.control.deploy import of_sources
from lyc.control.layout import keep_credentials, kept_credentials
from lyc.records.deployment import DeploymentSpec, Speculative
from lyc.records.secret import Secret
from lyc.spec.settings import load

ALL = {name: Secret(f"{name}-1") for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "LYCEUM_API_KEY")}


def test_they_are_read_by_their_owner_alone_and_forgotten(tmp_path: Path) -> None:
    settings = load({"LYC_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)})
    assert kept_credentials(settings, "chat") == {}
    keep_credentials(settings, "chat", ALL)
    (path,) = (settings.deployments_dir / "chat").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    kept = {name: one.reveal() for name, one in kept_credentials(settings, "chat").items()}
    assert kept == {name: one.reveal() for name, one in ALL.items()}
    keep_credentials(settings, "chat", {"HF_TOKEN": ALL["HF_TOKEN"]})
    assert list(kept_credentials(settings, "chat")) == ["HF_TOKEN"], "the last deploy counts"
    keep_credentials(settings, "chat", {})
    assert list((settings.deployments_dir / "chat").iterdir()) == []
    keep_credentials(settings, "chat", {})


def test_what_is_for_renting_is_not_kept_beside_a_deployment() -> None:
    assert list(of_sources(DeploymentSpec("a", "hf:org/a"), ALL)) == ["HF_TOKEN"]
    assert "AWS_SECRET_ACCESS_KEY" in of_sources(DeploymentSpec("a", "s3://bucket/a"), ALL)
    draft = Speculative("eagle", "s3://bucket/draft")
    assert "AWS_SECRET_ACCESS_KEY" in of_sources(DeploymentSpec("a", "hf:org/a", speculative=draft), ALL)
    assert not any("LYCEUM_API_KEY" in of_sources(DeploymentSpec("a", one), ALL) for one in ("hf:org/a", "s3://b/a"))
