"""vLLM's options as a person writes them → `Wish`. Names are vLLM's own, without dashes in front. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

from lyc.errors import LycError, SpecError, UsageError
from lyc.records.wish import Wish
from lyc.units import parse_bytes, parse_tokens

Wrong = Callable[[str, str, str], LycError]
"""Name of the option, why its value is wrong, hint → the error to raise."""

READ = (
    "tensor-parallel-size", "pipeline-parallel-size", "quantization", "dtype", "kv-cache-dtype", "max-model-len",
    "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization", "block-size", "enforce-eager",
    "kv-cache-memory-bytes", "max-loras",
)  # fmt: skip
"""The options that the planner looks at."""

DTYPES = {
    "auto": None, "half": "float16", "float16": "float16", "bfloat16": "bfloat16", "float": "float32",
    "float32": "float32",
}  # fmt: skip
"""vllm/config/model.py ModelDType, 0.19.0; `auto` leaves it to the model."""
CACHE_DTYPES = (
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "nvfp4_ds_mla", "nvfp4",
    "int8_per_token_head", "fp8_per_token_head", "int4_per_token_head", "turboquant_k8v4", "turboquant_4bit_nc",
    "turboquant_k3v4_nc", "turboquant_3bit_nc", "nvfp4_4over6", "octave_k3v4", "octave_k3v3", "octave_k3v3_compact",
    "ultraquant_4bit",
)  # fmt: skip
"""vllm/config/cache.py CacheDType, of all versions from 0.6.6 to 0.33.0."""
QUANTIZATIONS = (
    "aqlm", "auto-round", "auto_awq", "auto_gptq", "awq", "awq_marlin", "bitblas", "bitsandbytes", "compressed-tensors",
    "deepseek_v4_fp8", "deepspeedfp", "experts_int8", "fbgemm_fp8", "fp8", "fp8_per_block", "fp8_per_channel",
    "fp8_per_tensor", "fp_quant", "gguf", "gpt_oss_mxfp4", "gptq", "gptq_bitblas", "gptq_marlin", "gptq_marlin_24",
    "hqq", "humming", "inc", "int8_per_channel_weight_only", "marlin", "modelopt", "modelopt_fp4", "modelopt_mixed",
    "modelopt_mxfp8", "moe_wna16", "mxfp4", "mxfp8", "nvfp4", "nvfp4_per_token", "online", "petit_nvfp4", "ptpc_fp8",
    "qqq", "quark", "rtn", "torchao",
)  # fmt: skip
"""vllm/model_executor/layers/quantization/__init__.py QuantizationMethods, of all versions from 0.6.6 to 0.33.0."""
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:(?:\.?(?:post|dev)|a|b|rc)\d+)*(?:\+[\w.]+)?")
_ON, _OFF = frozenset({"", "true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


def engine_wish(words: Mapping[str, str], *, version: tuple[int, ...], wrong: Wrong) -> Wish:
    """What the options ask for; of options that are not in `READ` it takes no notice. Raises what `wrong` makes."""
    return Wish(
        version=version,
        tp=_whole(words, "tensor-parallel-size", wrong),
        pp=_whole(words, "pipeline-parallel-size", wrong),
        quantization=_one_of(words, "quantization", QUANTIZATIONS, wrong),
        dtype=DTYPES[_one_of(words, "dtype", DTYPES, wrong) or "auto"],
        kv_cache_dtype=_one_of(words, "kv-cache-dtype", CACHE_DTYPES, wrong),
        max_model_len=_tokens(words, "max-model-len", wrong),
        max_num_seqs=_whole(words, "max-num-seqs", wrong),
        max_num_batched_tokens=_tokens(words, "max-num-batched-tokens", wrong),
        utilization=_part(words, "gpu-memory-utilization", wrong),
        block_size=_whole(words, "block-size", wrong),
        enforce_eager=_switch(words, "enforce-eager", wrong),
        kv_cache_bytes=_bytes(words, "kv-cache-memory-bytes", wrong),
        max_loras=_whole(words, "max-loras", wrong) or 1,
    )


def vllm_version(text: str) -> tuple[int, int, int]:
    """`"0.19.0"`, `"v0.19"` or `"0.8.5.post1"` → (0, 19, 0). Raises UsageError `invalid-version`."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            "invalid-version",
            f"{text!r} is no version of vLLM",
            why="it is written as three numbers",
            where="--vllm-version",
            hint="--vllm-version 0.19.0",
        )
    return int(match[1]), int(match[2]), int(match[3] or 0)


def settled(wish: Wish) -> Wish:
    """The wish with `count` filled from tp and pp. Raises UsageError `contradictory-wish` for one that cannot be."""
    count, tp, pp = wish.count, wish.tp, wish.pp
    if count is not None and tp is not None and pp is not None and count != tp * pp:
        why = f"--tp {tp} and --pp {pp} are {tp * pp} cards, not {count}"
        raise _contradiction(why, "--count", "leave --count out")
    if count is not None and (odd := next((n for n in (tp, pp) if n and count % n), None)):
        why = f"{count} cards cannot be split {odd} ways"
        raise _contradiction(why, "--count", f"--count {odd}, or another --tp")
    if tp is not None and count is None:
        count = tp * (pp or 1)
    if wish.context and wish.max_model_len and wish.context > wish.max_model_len:
        raise _contradiction(
            f"requests of {wish.context} tokens do not fit into --max-model-len {wish.max_model_len}",
            "--context",
            f"--max-model-len {wish.context}, or leave it out",
        )
    return replace(wish, count=count)


def check_length(wish: Wish, longest: int | None) -> None:
    """longest: text that the model reads. Raises SpecError `max-model-len-too-large` for a wish beyond."""
    for flag, asked in (("--max-model-len", wish.max_model_len), ("--context", wish.context)):
        if longest is not None and asked is not None and asked > longest:
            raise SpecError(
                "max-model-len-too-large",
                f"the model cannot read {asked} tokens",
                why=f"its own limit is {longest}",
                where=flag,
                hint=f"give {flag} {longest} or less",
            )


def alike(word: str, known: Iterable[str]) -> str:
    """`did you mean X or Y?`, or empty where nothing is like it."""
    near = difflib.get_close_matches(word.lower(), list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _contradiction(why: str, where: str, hint: str) -> UsageError:
    return UsageError("contradictory-wish", "two wishes contradict each other", why=why, where=where, hint=hint)


def _whole(words: Mapping[str, str], name: str, wrong: Wrong) -> int | None:
    text = words.get(name)
    if text is None:
        return None
    if not text.strip().isdecimal() or not 0 < int(text) < 1 << 31:
        raise wrong(name, f"{text!r} is no whole number above 0", "")
    return int(text)


def _tokens(words: Mapping[str, str], name: str, wrong: Wrong) -> int | None:
    text = words.get(name)
    if text is None:
        return None
    try:
        tokens = parse_tokens(text)
    except ValueError as problem:
        raise wrong(name, str(problem), "") from problem
    if not 0 < tokens < 1 << 31:
        raise wrong(name, f"{tokens} tokens cannot be", "")
    return tokens


def _bytes(words: Mapping[str, str], name: str, wrong: Wrong) -> int | None:
    text = words.get(name)
    if text is None:
        return None
    try:
        size = parse_bytes(text)
    except ValueError as problem:
        raise wrong(name, str(problem), "") from problem
    if size < 1:
        raise wrong(name, "nothing fits into 0 bytes", "")
    return size


def _part(words: Mapping[str, str], name: str, wrong: Wrong) -> Fraction | None:
    text = words.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\s*(\d+(\.\d*)?|\.\d+)\s*", text):
        raise wrong(name, f"{text!r} is no number", "write it like 0.92")
    part = Fraction(text.strip())
    if not 0 < part <= 1:
        hint = f"{float(part):g} % is written {float(part / 100):g}" if 2 <= part <= 100 else ""
        raise wrong(name, "it is a part of the card's memory: above 0, at most 1", hint)
    return part


def _switch(words: Mapping[str, str], name: str, wrong: Wrong) -> bool:
    text = words.get(name)
    if text is None or text.strip().lower() in _OFF:
        return False
    if text.strip().lower() not in _ON:
        raise wrong(name, f"{text!r} is neither true nor false", "")
    return True


def _one_of(words: Mapping[str, str], name: str, known: Iterable[str], wrong: Wrong) -> str | None:
    text = words.get(name)
    if text is None:
        return None
    names = list(known)
    found = text.strip().lower()
    if found not in names:
        raise wrong(name, f"vLLM knows no {text!r}", alike(found, names) or f"known are {', '.join(names)}")
    return found
