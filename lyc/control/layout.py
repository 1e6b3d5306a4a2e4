"""Where the controller keeps what on the disk, below `$LYC_HOME`. All folders are 0700, all files 0600 (umask 077).

lyc.db                                       the store
controller.lock, controller.log              one controller a home
credentials/<operation>.json                 of a deploy that still fetches; deleted after
gateway/{config,log,process}/                Envoy's files, its access log, its process
deployments/<name>/engine.key                the engine's own key
deployments/<name>/sources.json              credentials of sources, while it may need another machine
deployments/<name>/replicas/<id>/<attempt>/  one engine process: its record, its files, its log
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from lyc.records.deployment import Replica
from lyc.records.secret import Secret
from lyc.spec.settings import Settings


def replica_root(settings: Settings, replica: Replica) -> Path:
    return settings.deployments_dir / replica.deployment / "replicas" / replica.id


def attempt_directory(settings: Settings, replica: Replica) -> Path:
    """Folder of the replica's present process."""
    return replica_root(settings, replica) / str(replica.attempts)


def gateway_config(settings: Settings) -> Path:
    return settings.home / "gateway" / "config"


def gateway_process(settings: Settings) -> Path:
    return settings.home / "gateway" / "process"


def activator_socket(settings: Settings) -> Path:
    """Where requests wait that found no replica."""
    return settings.socket("activator")


def controller_log(settings: Settings) -> Path:
    return settings.home / "controller.log"


def controller_lock(settings: Settings) -> Path:
    return settings.home / "controller.lock"


def engine_key_file(settings: Settings, deployment: str) -> Path:
    return settings.deployments_dir / deployment / "engine.key"


def engine_key(settings: Settings, deployment: str) -> Secret:
    """The key between gateway and engine, made on first use: 256 bits that no user ever needs to see."""
    path = engine_key_file(settings, deployment)
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return Secret(path.read_text())


def save_credentials(settings: Settings, operation: str, credentials: Mapping[str, str]) -> None:
    if credentials:
        write_private(_credentials(settings, operation), json.dumps(dict(credentials)))


def load_credentials(settings: Settings, operation: str) -> dict[str, Secret]:
    """What `save_credentials` kept; empty if there was nothing or it is gone."""
    return _read(_credentials(settings, operation))


def keep_credentials(settings: Settings, deployment: str, credentials: Mapping[str, Secret]) -> None:
    """For as long as the deployment is there: it may have to fetch its weights onto another machine. In place of those
    that were kept before; none = forget them.
    """
    path = _kept(settings, deployment)
    if credentials:
        write_private(path, json.dumps({name: value.reveal() for name, value in credentials.items()}))
    else:
        path.unlink(missing_ok=True)


def kept_credentials(settings: Settings, deployment: str) -> dict[str, Secret]:
    """What `keep_credentials` kept; empty if there was nothing."""
    return _read(_kept(settings, deployment))


def drop_credentials(settings: Settings, operation: str) -> None:
    _credentials(settings, operation).unlink(missing_ok=True)


def _credentials(settings: Settings, operation: str) -> Path:
    return settings.home / "credentials" / f"{operation}.json"


def _kept(settings: Settings, deployment: str) -> Path:
    return settings.deployments_dir / deployment / "sources.json"


def _read(path: Path) -> dict[str, Secret]:
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return {str(name): Secret(str(value)) for name, value in kept.items()}


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file that a reader sees whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
