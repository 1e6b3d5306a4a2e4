"""vLLM's own options as a deployment carries them: text by name → what they ask of the planner."""

from __future__ import annotations

from collections.abc import Mapping

from lyc.errors import SpecError
from lyc.records.deployment import DeploymentSpec
from lyc.records.plan import EngineBuild
from lyc.records.wish import Wish
from lyc.spec.engine_words import engine_wish


def asked(spec: DeploymentSpec, build: EngineBuild) -> Wish:
    """What the spec's flags and engine options ask for. SpecError `bad-engine-arg` for a value that cannot be."""
    words = {plain(name): value for name, value in spec.engine_args.items()}
    words |= {"quantization": spec.quantization} if spec.quantization else {}
    words |= {"max-model-len": str(spec.max_model_len)} if spec.max_model_len else {}
    return engine_wish(words, version=build.release, wrong=_bad)


def given(engine_args: Mapping[str, str], name: str) -> str | None:
    """The value of the option `name` (long, with dashes), however the user wrote the name."""
    return next((value for written, value in engine_args.items() if plain(written) == name), None)


def plain(written: str) -> str:
    return written.lstrip("-").replace("_", "-")


def compiles(engine_args: Mapping[str, str]) -> bool:
    """Whether the user asked for a compiled model: it takes minutes to start on a CPU, so it is not the default."""
    eager = given(engine_args, "enforce-eager")
    if eager is not None:
        return eager.lower() in ("false", "0", "no", "off")
    names = {plain(written).partition(".")[0] for written in engine_args}
    return bool(names & {"no-enforce-eager", "compilation-config", "optimization-level"})


def _bad(name: str, why: str, hint: str) -> SpecError:
    where = f"--engine-arg {name}"
    return SpecError(
        "bad-engine-arg", f"--{name} cannot be so", why=why, where=where, hint=hint or "correct it, or leave it out"
    )
