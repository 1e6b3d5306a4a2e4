"""Which release a rollback may go to, and the way there where it may not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lyc.control.deps import Deps
from lyc.errors import Failed, NotFound, UsageError
from lyc.records.deployment import Deployment, Release, ReleaseState
from lyc.records.host import LOCAL
from lyc.rollout.situation import target_of


def previous(deployment: Deployment, releases: Sequence[Release]) -> int:
    """The release that was active last before the present one. While a rollback is under way, the one that it goes to:
    whoever asks twice, because the first answer was lost, must not be sent forward again. Raises UsageError
    `nothing-to-roll-back-to`.
    """
    target = target_of(deployment, releases)
    if target is not None and target.state is ReleaseState.PENDING and target.active_at is not None:
        return target.number
    others = [
        one
        for one in releases
        if one.number != deployment.target and one.active_at is not None and one.state is not ReleaseState.FAILED
    ]
    if not others:
        raise UsageError(
            "nothing-to-roll-back-to",
            f"no other release of {deployment.name} has ever served",
            hint=f"lyc releases {deployment.name}",
        )
    return max(others, key=lambda one: (one.active_at or 0.0, one.number)).number


def returnable(deps: Deps, deployment: Deployment, releases: Sequence[Release], number: int) -> Release:
    """The release, which can serve again. Raises NotFound `no-such-release`, UsageError `same-release` and
    `release-failed`, Failed `weights-missing` and `host-gone` with the deploy to type, and what its host raises.
    """
    name = deployment.name
    release = next((one for one in releases if one.number == number), None)
    if release is None:
        there = ", ".join(str(one.number) for one in releases)
        raise NotFound(
            "no-such-release",
            f"{name} has no release {number}",
            why=f"there are {there}" if there else "there is none",
            where="--to",
            hint=f"lyc releases {name}",
        )
    again = deploy_command(release)
    if release.state is ReleaseState.FAILED:
        why = str((release.error or {}).get("what") or "")
        what = f"release {number} of {name} failed, and cannot be gone back to"
        raise UsageError("release-failed", what, why=why, where="--to", hint=f"try it anew: {again}")
    if number == deployment.target:
        raise UsageError(
            "same-release",
            f"{name} serves release {number} already" if release.state is ReleaseState.ACTIVE
            else f"{name} is on its way to release {number} already",
            where="--to",
            hint=f"lyc releases {name}",
        )  # fmt: skip
    try:
        weights = deps.sites.site(release.spec.host).cache.use(release.snapshot)
    except NotFound as problem:
        raise Failed(
            "host-gone",
            f"the host of release {number} is not known any more: {release.spec.host}",
            why=problem.what,
            hint=f"deploy it anew: {again}",
        ) from problem
    if weights is None:
        where = "this machine" if release.spec.host == LOCAL else release.spec.host
        raise Failed(
            "weights-missing",
            f"the weights of release {number} of {name} are no longer on {where}",
            hint=f"fetch them again: {again}",
        )
    return release


def deploy_command(release: Release) -> str:
    """The `lyc deploy` that makes such a release again, but for its environment, whose values may be secrets."""
    spec = release.spec
    words = ["lyc", "deploy", release.model, "--name", release.deployment]
    words += ["--host", spec.host] if spec.host != LOCAL else []
    words += ["--gpu", spec.gpu] if spec.gpu != "auto" else []
    words += ["--quantization", spec.quantization] if spec.quantization else []
    words += ["--max-model-len", str(spec.max_model_len)] if spec.max_model_len else []
    if spec.speculative is not None:
        wish = spec.speculative
        draft = f":{wish.model}" if wish.model else ""
        tokens = f",tokens={wish.tokens}" if wish.tokens else ""
        words += ["--speculative", f"{wish.method}{draft}{tokens}"]
    for key, value in spec.engine_args.items():
        words += ["--engine-arg", f"{key}={value}"]
    words += [word for key in spec.env for word in ("--env", key)]
    return shlex.join(words)
