"""What the user's own vLLM options say of memory: read from `engine_args`, whose values are text."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from lyc.errors import SpecError
from lyc.units import parse_bytes, parse_tokens


def given(engine_args: Mapping[str, str], name: str) -> str | None:
    """The value of the option `name` (long, with dashes), however the user wrote the name."""
    return next((value for written, value in engine_args.items() if plain(written) == name), None)


def plain(written: str) -> str:
    return written.lstrip("-").replace("_", "-")


def whole(engine_args: Mapping[str, str], name: str) -> int | None:
    """A number of things (`8k` is taken). SpecError `bad-engine-arg` where it is none."""
    value = given(engine_args, name)
    if value is None:
        return None
    try:
        found = parse_tokens(value)
    except ValueError as error:
        raise _bad(name, str(error)) from error
    if found < 1:
        raise _bad(name, f"{value} is not a number of 1 or more")
    return found


def part(engine_args: Mapping[str, str], name: str) -> Fraction | None:
    """A fraction in (0, 1]. SpecError `bad-engine-arg` where it is none."""
    value = given(engine_args, name)
    if value is None:
        return None
    try:
        found = Fraction(value)
    except (ValueError, ZeroDivisionError) as error:
        raise _bad(name, f"{value!r} is not a number") from error
    if not 0 < found <= 1:
        raise _bad(name, f"{value} is not between 0 and 1")
    return found


def size(engine_args: Mapping[str, str], name: str) -> int | None:
    """Bytes, `2GiB` or a bare number."""
    value = given(engine_args, name)
    if value is None:
        return None
    try:
        return int(value) if value.isdigit() else parse_bytes(value)
    except ValueError:
        return parse_tokens(value)


def switched_on(engine_args: Mapping[str, str], name: str) -> bool:
    """Whether a flag is set: `enforce-eager`, `enforce-eager=true`."""
    value = given(engine_args, name)
    return value is not None and value.lower() not in ("false", "0", "no", "off")


def compiles(engine_args: Mapping[str, str]) -> bool:
    """Whether the user asked for a compiled model: it takes minutes to start on a CPU, so it is not the default."""
    eager = given(engine_args, "enforce-eager")
    if eager is not None:
        return eager.lower() in ("false", "0", "no", "off")
    names = {plain(written).partition(".")[0] for written in engine_args}
    return bool(names & {"no-enforce-eager", "compilation-config", "optimization-level"})


def _bad(name: str, why: str) -> SpecError:
    return SpecError(
        "bad-engine-arg",
        f"--{name} cannot be so",
        why=why,
        where=f"--engine-arg {name}",
        hint="correct it, or leave it out",
    )
