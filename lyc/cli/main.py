"""The entry point: reads the command line, runs one verb, shows one error, returns one exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import typer

from lyc.cli.app import build
from lyc.cli.output import ReaderGone
from lyc.cli.session import output_of_last_resort
from lyc.errors import Bug, Interrupted, LycError, UsageError
from lyc.spec.settings import SETTINGS


def main() -> None:
    """`lyc`. Ends the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; the codes are in `docs/cli.md`."""
    words = list(arguments)
    overrides: dict[str, str] = {}
    try:
        overrides, words = take_settings(arguments)
        code = build()(args=words, prog_name="lyc", standalone_mode=False, obj=overrides)
        if code == Interrupted.exit_code:  # Typer turns a Ctrl-C that no verb took into this
            raise Interrupted("interrupted", "interrupted")
        return code if isinstance(code, int) else 0
    except ReaderGone:
        return _nobody_reads()
    except LycError as problem:
        return _shown(problem, words, overrides)
    except typer.TyperException as problem:
        return _shown(_usage(problem), words, overrides)
    except (KeyboardInterrupt, typer.Abort):
        return _shown(Interrupted("interrupted", "interrupted"), words, overrides)
    except Exception as problem:
        if os.environ.get("LYC_DEBUG"):
            raise
        return _shown(_bug(problem), words, overrides)


def take_settings(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Settings may stand anywhere on the line: take them off it. What follows `--` stays.

    `["ls", "--home", "/x", "--plain"]` → `{"home": "/x", "plain": "1"}, ["ls"]`. Raises UsageError `missing-value`.
    """
    rows = {entry.flag: entry for entry in SETTINGS if entry.flag}
    found: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        entry = rows.get(flag)
        if word == "--":
            rest += [word, *words]
        elif entry is None or (entry.kind == "switch" and equals):
            rest.append(word)
        elif entry.kind == "switch":
            found[entry.name] = "1"
        else:
            given = value if equals else next(words, None)
            if given is None:
                raise UsageError("missing-value", f"{flag} takes a value", where=flag, hint=entry.usage)
            found[entry.name] = given
    return found, rest


def _nobody_reads() -> int:
    """No error; but Python would complain when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return 0


def _shown(error: LycError, words: Sequence[str], overrides: Mapping[str, str]) -> int:
    try:
        output_of_last_resort(words, overrides).error(error)
    except ReaderGone:
        _nobody_reads()
    return error.exit_code


def _usage(problem: typer.TyperException) -> LycError:
    """Typer's complaint about the command line, in our words. Its classes are private: their fields tell them apart."""
    context = getattr(problem, "ctx", None)
    command = context.command_path if context is not None else "lyc"
    hint = f"{command} --help"
    option = getattr(problem, "option_name", None)
    parameter = getattr(problem, "param", None)
    if option and hasattr(problem, "possibilities"):
        near = [f"did you mean {name}?" for name in (problem.possibilities or [])[:1]]
        return UsageError("no-such-option", f"{command} has no option {option}", hint=near[0] if near else hint)
    text = problem.format_message().rstrip(".")
    if parameter is not None and not hasattr(problem, "param_type"):
        name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name
        return UsageError("invalid-value", f"the value of {name} is not valid", why=problem.message, hint=hint)
    return UsageError("usage", f"{command}: {text[:1].lower()}{text[1:]}", hint=hint)


def _bug(problem: Exception) -> LycError:
    """What nobody expected. The text of a foreign exception may hold anything, so only its kind and place are shown."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return Bug(
        "unexpected",
        f"lyc met something that it does not expect: {type(problem).__name__}",
        why="this is a bug in lyc, not a mistake of yours",
        where=where,
        hint="run it again with LYC_DEBUG=1 for the whole trace, and report it",
    )
