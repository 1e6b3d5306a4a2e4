"""The caller's own credentials for sources, gathered where the tools of those sources keep them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lyc.records.deployment import DeploymentSpec
from lyc.records.host import RENT
from lyc.spec.settings import CREDENTIALS

_BY_SOURCE = {"hf:": "HF_", "s3://": "AWS_"}
_FILES = frozenset({"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"})


def gather(environ: Mapping[str, str]) -> dict[str, str]:
    """`{name: value}` of the variables in `CREDENTIALS` that are set; the Hub's token also from its login's file.

    The controller was started from another shell, perhaps days ago: its own environment does not say who asks now.
    """
    found = {row.env: value for row in CREDENTIALS if (value := environ.get(row.env))}
    found |= {name: str(Path(found[name]).expanduser().absolute()) for name in _FILES & found.keys()}
    if "HF_TOKEN" not in found:
        token = environ.get("HUGGING_FACE_HUB_TOKEN") or _token_file(environ)  # the older name is still read by the Hub
        if token:
            found["HF_TOKEN"] = token
    return found


def needed(spec: DeploymentSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """Of what `gather` finds, what the sources of this model and its draft ask for: a folder needs no credentials."""
    models = [spec.model, *([spec.speculative.model] if spec.speculative and spec.speculative.model else [])]
    prefixes = tuple(prefix for start, prefix in _BY_SOURCE.items() if any(model.startswith(start) for model in models))
    found = {name: value for name, value in gather(environ).items() if name.startswith(prefixes)} if prefixes else {}
    rents = RENT in (spec.host, *(spec.scale.hosts or ()))
    return found | (for_providers(environ) if rents else {})


def for_providers(environ: Mapping[str, str]) -> dict[str, str]:
    """`{name: value}` of the variables that installed providers of machines take and that are set, addresses too."""
    from lyc.providers.accounts import endpoint_variable, installed  # what is installed is looked up, and each loaded

    kinds = installed()
    names = {one.env for kind in kinds.values() for one in kind.capabilities.credentials}
    names |= {endpoint_variable(name) for name in kinds}
    return {name: value for name in sorted(names) if (value := environ.get(name))}


def _token_file(environ: Mapping[str, str]) -> str:
    """What `hf auth login` wrote. Places: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables"""
    home = environ.get("HF_HOME") or os.path.join(  # noqa: PTH118  may be empty or start with ~
        environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    try:
        return Path(environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""
