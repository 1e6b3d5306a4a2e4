"""One line of vLLM's log → what it says of the start. The words are those of the pinned version; a test has its log."""

from __future__ import annotations

import re
from collections.abc import Callable

from lyc.records.engine import EngineProgress

_PREFIX = re.compile(
    r"^(?:\((?P<process>\S+) pid=\d+\)\s*)?(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:.]+ "
    r"\[[^\]]*\] )?"
)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

IMPORT, LOAD, COMPILE, SERVE = "import", "load", "compile", "serve"


def bare(line: str) -> str:
    """The line without colours and without vLLM's `(EngineCore pid=…) INFO 01-02 03:04:05 [file.py:1]`."""
    return _PREFIX.sub("", _ESCAPE.sub("", line), count=1).rstrip()


def level(line: str) -> str | None:
    """`INFO`, `WARNING`, `ERROR` … of a line of vLLM's logger; None for tracebacks and the lines of others."""
    match = _PREFIX.match(_ESCAPE.sub("", line))
    return match["level"] if match else None


def progress(line: str) -> EngineProgress | None:
    """What the line says of the start, or None: most lines say nothing of it.

    Stages come in the order `import`, `load`, `compile`, `serve`, but a later line may name an earlier stage again (a
    draft model is loaded after the model). A fraction is the part of the stage, not of the whole start.
    """
    text = bare(line.rsplit("\r", 1)[-1])
    for pattern, make in _RULES:
        match = pattern.search(text)
        if match:
            return make(match)
    return None


def _says(stage: str, message: str, fraction: float | None = None) -> Callable[[re.Match[str]], EngineProgress]:
    return lambda match: EngineProgress(stage, match.expand(message), fraction)


def _shards(match: re.Match[str]) -> EngineProgress:
    done, total = int(match["done"]), int(match["total"])
    return EngineProgress(LOAD, f"weights, shard {done} of {total}", done / total if total else None)


def _graphs(match: re.Match[str]) -> EngineProgress:
    done, total = int(match["done"]), int(match["total"])
    return EngineProgress(COMPILE, f"capturing graphs, {done} of {total}", done / total if total else None)


_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], EngineProgress]], ...] = (
    (re.compile(r"^non-default args:"), _says(IMPORT, "vLLM has read its options")),
    (re.compile(r"^Resolved architecture: (\S+)"), _says(IMPORT, r"architecture \1")),
    (re.compile(r"^Initializing a V1 LLM engine"), _says(IMPORT, "starting the engine core")),
    (re.compile(r"^Starting to load model"), _says(LOAD, "weights", 0.0)),
    (re.compile(r"^Loading \S+ checkpoint shards:.*?\| (?P<done>\d+)/(?P<total>\d+) \["), _shards),
    (re.compile(r"^Loading weights took ([\d.]+) seconds"), _says(LOAD, r"weights loaded in \1 s", 1.0)),
    (re.compile(r"^Model loading took ([\d.]+) GiB"), _says(LOAD, r"\1 GiB of weights in memory", 1.0)),
    (re.compile(r"^Warming up model for the compilation"), _says(COMPILE, "compiling the model", 0.0)),
    (re.compile(r"^(?:\[\w+\] )?Dynamo bytecode transform time"), _says(COMPILE, "compiling the model")),
    (re.compile(r"^(?:\[\w+\] )?Directly load "), _says(COMPILE, "compiled graphs come from the cache")),
    (re.compile(r"^(?:\[\w+\] )?Compiling a graph for .* takes ([\d.]+) s"), _says(COMPILE, r"compiled in \1 s")),
    (re.compile(r"^(?:\[\w+\] )?torch\.compile .*?([\d.]+) s in total"), _says(COMPILE, r"compiled in \1 s", 1.0)),
    (re.compile(r"^(?:\[\w+\] )?Initial profiling/warmup run took"), _says(COMPILE, "compiled and warmed up", 1.0)),
    (re.compile(r"^Capturing [\w -]*CUDA graphs?.*?\| (?P<done>\d+)/(?P<total>\d+) \["), _graphs),
    (re.compile(r"^Graph capturing finished in (\d+) secs"), _says(COMPILE, r"graphs captured in \1 s", 1.0)),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), _says(SERVE, r"KV cache for \1 tokens")),
    (re.compile(r"^init engine \(.*\) took ([\d.]+) s"), _says(SERVE, r"engine ready after \1 s")),
    (re.compile(r"^Starting vLLM server on"), _says(SERVE, "starting to listen")),
    (re.compile(r"^(?:INFO:\s+)?Application startup complete"), _says(SERVE, "listening", 1.0)),
)
