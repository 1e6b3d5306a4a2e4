"""The words of `lyc plan` → `Wish`. Pure: what was read from files and the catalogue is handed in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from lyc.errors import LycError, SpecError, UsageError
from lyc.records.deployment import DeploymentSpec
from lyc.records.wish import Wish
from lyc.spec.engine_words import READ, engine_wish, settled, vllm_version
from lyc.units import parse_tokens

_FLAGS = {
    "tensor-parallel-size": "--tp",
    "pipeline-parallel-size": "--pp",
    "gpu-memory-utilization": "--util",
}
_EVERY = frozenset({"auto", "all"})
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Words:
    """What was typed. engine: vLLM's options by their long names, without dashes in front."""

    engine: Mapping[str, str]
    gpu: tuple[str, ...] = ()
    count: int | None = None
    concurrency: int | None = None
    context: str | None = None
    vllm_version: str | None = None
    per_token_price: str | None = None
    active_hours: str | None = None


def wish_of(words: Words, spec: DeploymentSpec, *, file: Path | None, pinned: str) -> tuple[Wish, tuple[str, ...]]:
    """The wish, without its cards, prices, draft and adapter; and the names of the GPUs, none = every one.

    spec: of lyc.toml with the flags that win over it. pinned: the version of vLLM that lyc installs.
    Raises UsageError and SpecError, each naming the flag or the key at fault.
    """
    names, by_name = gpu_names(words.gpu or ((spec.gpu,) if spec.gpu else ()))
    if words.count is not None and by_name is not None and words.count != by_name:
        raise UsageError(
            "contradictory-wish",
            "two wishes contradict each other",
            why=f"--gpu {names[0]}:{by_name} and --count {words.count}",
            where="--count",
            hint="leave one of them out",
        )
    version = vllm_version(words.vllm_version or pinned)
    written = {name: value for name, value in spec.engine_args.items() if name in READ}
    written |= {"quantization": spec.quantization} if spec.quantization else {}
    written |= {"max-model-len": str(spec.max_model_len)} if spec.max_model_len else {}

    def wrong(name: str, why: str, hint: str) -> LycError:
        if name in words.engine or file is None:
            flag = _FLAGS.get(name, f"--{name}")
            return UsageError("invalid-value", f"the value of {flag} is not valid", why=why, where=flag, hint=hint)
        what = f"the value of {name} is not valid"
        return SpecError("invalid-value", what, why=why, where=f"{file}: engine_args.{name}", hint=hint)

    wish = replace(
        engine_wish({**written, **words.engine}, version=version, wrong=wrong),
        count=_positive(words.count if words.count is not None else by_name, "--count"),
        concurrency=_positive(words.concurrency, "--concurrency"),
        context=_context(words.context),
        per_token_price=token_price(words.per_token_price)[0],
        active_hours=_hours(words.active_hours),
        on_cpu=names == (CPU,),
    )
    return settled(wish), names


def gpu_names(words: Sequence[str]) -> tuple[tuple[str, ...], int | None]:
    """`["h100:2", "l40s:2"]` or `["h100:2,l40s:2"]` → (("h100", "l40s"), 2). `auto` and `all` name none.

    Raises UsageError `invalid-gpu`, `contradictory-wish`.
    """
    names: list[str] = []
    counts: list[int | None] = []
    for word in (part.strip().lower() for text in words for part in text.split(",")):
        name, colon, number = word.partition(":")
        if not name or (colon and (not number.isdecimal() or not 0 < int(number) <= 1024)):
            raise UsageError(
                "invalid-gpu", f"{word!r} is no wish for GPUs", where="--gpu", hint="--gpu h100, --gpu h100:2, lyc gpus"
            )
        if name not in _EVERY:
            names.append(name)
        counts.append(int(number) if colon else None)
    if len(set(counts)) > 1:
        raise UsageError(
            "contradictory-wish",
            "one plan is for one number of cards",
            why=f"--gpu {','.join(words)}",
            where="--gpu",
            hint="give the number once: --count N",
        )
    if CPU in names and len(set(names)) > 1:
        what = "a plan for the CPU is a plan of its own"
        raise UsageError("contradictory-wish", what, where="--gpu", hint="--gpu cpu")
    return tuple(dict.fromkeys(names)), counts[0] if counts else None


def token_price(text: str | None) -> tuple[Decimal | None, str | None]:
    """`0.60EUR` → (0.60, "EUR"); without a currency that of the prices is meant. Raises UsageError."""
    if text is None:
        return None, None
    from lyc.planning.economics import parse_token_price

    bare = re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", text) is not None
    amount, currency = parse_token_price(f"{text.strip()}EUR" if bare else text.lower())
    return amount, None if bare else currency


def _hours(text: str | None) -> Decimal | None:
    from lyc.planning.economics import parse_active_hours

    return None if text is None else parse_active_hours(text)


def _context(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        context = parse_tokens(text)
    except ValueError as problem:
        raise _invalid("--context", str(problem)) from problem
    if context < 1:
        raise _invalid("--context", f"{context} tokens cannot be")
    return context


def _positive(number: int | None, flag: str) -> int | None:
    if number is not None and not 0 < number < 1 << 31:
        raise _invalid(flag, f"{number} is not above 0" if number < 1 else f"{number} is too many")
    return number


def _invalid(flag: str, why: str) -> UsageError:
    return UsageError("invalid-value", f"the value of {flag} is not valid", why=why, where=flag)
