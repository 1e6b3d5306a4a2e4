"""The log of an engine that did not start, or died → one error: what, why, the decisive lines, and what to do.

vLLM's last line is seldom the one that matters ("Engine core initialization failed. See root cause above"), and the one
that matters stands between traceback lines of three processes. The rules know what the pinned version writes; each has
a log of a real failed start in the tests. A log that no rule knows is shown by its root exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lyc.engines.diagnosis_rules import RULES
from lyc.engines.progress import bare, level
from lyc.errors import EngineFailed, LycError
from lyc.records.secret import MASK, Secret

_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning|Full|Timeout)\b(?::|$)"
)
_EMPTY_WORDS = re.compile(
    r"Engine core initialization failed|For further information visit|resource_tracker|Failed core proc"
    r"|WorkerProc initialization failed|^SystemExit|cancelled|CancelledError|EngineDeadError|Warning:|BrokenPipeError"
    r"|leaked (?:semaphore|shared_memory)|CalledProcessError"
)
_TOKENS = re.compile(
    r"\b(?:sk|hf|lyc)[-_][A-Za-z0-9_\-]{12,}|(?<=[Bb]earer )\S+|(?<=://)[^/\s@]+(?=@)|AKIA[0-9A-Z]{12,}"
    r"|(?<=api_key=)\S+|(?<='api_key': ')[^']+"
)
_ADVICE = re.compile(
    r" (?:Supported architectures: |\[type=\w+, input_value=|To allow overriding |See https?://|Try increasing ).*$"
)
"""What vLLM adds after it has said what is wrong; its flags are not lyc's."""
_SHOWN, _WIDTH = 6, 300


def diagnose(lines: Sequence[str], exit_code: int | None, secrets: Iterable[Secret] = ()) -> LycError:
    """One error for the log `lines` (oldest first) of an engine that ended with `exit_code`.

    exit_code: as in ProcessStatus: negative = killed by that signal, None = nobody saw the end. secrets: values that
    must not be shown even if the log holds them; what looks like a token is masked anyway. Never raises.
    """
    hidden = [secret.reveal() for secret in secrets if secret]
    plain = [_masked(bare(line), hidden) for line in lines]
    root = root_line(plain)
    complaints = [text for text, line in zip(plain, lines, strict=True) if level(line) not in ("DEBUG", "INFO")]
    for rule in RULES:
        if (rule.exit_codes and exit_code not in rule.exit_codes) or (rule.rootless and root is not None):
            continue
        for line in reversed(complaints or [""]):
            match = re.search(rule.pattern, line)
            if match:
                detail = _detail([line] if rule.shows_line else [], root, plain)
                return rule.error(match, detail)
    if exit_code is not None and exit_code < 0:
        return EngineFailed(
            "engine-killed",
            f"the engine was killed by signal {-exit_code}",
            why="nothing in its log says why" if root is None else "",
            hint="see its log: lyc logs NAME",
            detail=_detail([], root, plain),
        )
    return EngineFailed(
        "engine-failed",
        "the engine ended" + ("" if exit_code is None else f" with exit code {exit_code}"),
        why=_short(root) if root else "its log names no error",
        hint="see its log: lyc logs NAME",
        detail=_detail([], root, plain),
    )


def root_line(plain: Sequence[str]) -> str | None:
    """The line with the cause: pydantic's `Value error,` if there is one, else the last exception that says something.

    plain: lines without prefixes (`lyc.engines.progress.bare`).
    """
    for index, line in enumerate(plain):
        if re.match(r"^\d+ validation errors? for ", line.split(": ")[-1]):
            for later in plain[index + 1 : index + 6]:
                if later.strip().startswith("Value error,"):
                    return later.strip()
    candidates = [line.strip() for line in plain if _EXCEPTION.match(line.strip())]
    telling = [line for line in candidates if not _EMPTY_WORDS.search(line)]
    if telling:
        return telling[-1]
    usage = [line for line in plain if re.match(r"^(?:vllm|api_server)\b.*: error: ", line)]
    return usage[-1] if usage else None


def _detail(first: list[str], root: str | None, plain: Sequence[str]) -> tuple[str, ...]:
    chosen = [_short(line) for line in [*first, *([root] if root else [])]]
    if not chosen:
        chosen = [_short(line) for line in plain if line.strip()][-_SHOWN:]
    return tuple(dict.fromkeys(line for line in chosen if line))[:_SHOWN]


def _short(line: str) -> str:
    stripped = _ADVICE.sub("", line.strip())
    return stripped if len(stripped) <= _WIDTH else stripped[: _WIDTH - 1] + "…"


def _masked(line: str, hidden: Sequence[str]) -> str:
    for value in hidden:
        line = line.replace(value, MASK)
    return _TOKENS.sub(MASK, line)
