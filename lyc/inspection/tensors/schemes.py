"""The quantization of a checkpoint, as its configuration writes it: how each linear module is stored.

Methods: fp8, fbgemm_fp8, awq, gptq, auto-round, compressed-tensors, bitsandbytes, mxfp4, modelopt, quark. Names of what
is left out differ by method (exact, a part of the name, `re:` expressions, globs); all of them are understood at once.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lyc.inspection.settings import Settings


@dataclass(frozen=True, slots=True)
class Scheme:
    """kind: fp8 | int8 | awq | gptq | packed | nvfp4 | mxfp4 | mxfp8 | bnb4 | bnb8. style: whose names it bears.

    group: inputs that share a scale, 0 = a whole channel, -1 = the whole tensor. block: of fp8, outputs and inputs that
    share one. static: the scale of activations is stored. ordered: so is the order of the inputs (`g_idx`).
    """

    kind: str
    style: str = ""
    bits: int = 8
    group: int = 0
    block: tuple[int, int] | None = None
    symmetric: bool = True
    static: bool = False
    ordered: bool = False


class Omitted:
    """The names that a quantization leaves as they are. Fast for lists of thousands."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._plain: set[str] = set()
        self.numbered = False
        patterns: list[str] = []
        for entry in entries:
            if entry.startswith("re:"):
                patterns.append(entry[3:])
            elif any(sign in entry for sign in "*?["):
                patterns += (fnmatch.translate(entry), fnmatch.translate(entry + ".*"))
            else:
                self._plain.add(entry.strip("."))
            self.numbered = self.numbered or any(sign.isdigit() for sign in entry)
        self._expressions = _compiled(patterns)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        words = name.split(".")
        runs = (".".join(words[first:last]) for first in range(len(words)) for last in range(first + 1, len(words) + 1))
        if self._plain and any(run in self._plain for run in runs):
            return True
        return any(one.match(name) for one in self._expressions)


def _compiled(patterns: list[str]) -> list[re.Pattern[str]]:
    """One expression for all, or one for each that is an expression at all."""
    try:
        return [re.compile("|".join(f"(?:{pattern})" for pattern in patterns))] if patterns else []
    except re.error:
        return [found for pattern in patterns for found in _compiled([pattern])] if len(patterns) > 1 else []


@dataclass(frozen=True, slots=True)
class Quantization:
    """schemes: (the modules that it applies to, how they are stored), first match wins; None there = every module.

    only_experts: nothing else is quantized. heads: the output table is, unless left out. unknown: a method whose
    stored form lyc does not know.
    """

    schemes: tuple[tuple[Omitted | None, Scheme], ...]
    omitted: Omitted
    only_experts: bool = False
    heads: bool = False
    unknown: str = ""

    def scheme(self, name: str) -> Scheme | None:
        if name in self.omitted:
            return None
        return next((scheme for targets, scheme in self.schemes if targets is None or name in targets), None)

    @property
    def numbered(self) -> bool:
        """Whether single layers are treated differently."""
        return self.omitted.numbered or any(targets is not None and targets.numbered for targets, _ in self.schemes)


def quantization(method: str | None, detail: Mapping[str, object]) -> Quantization | None:
    """What `detail` (the quantization_config) says; None for a checkpoint that is not quantized."""
    if method is None:
        return None
    own = Settings(detail)
    found = _schemes(method, own)
    names = _omitted(own) if method != "bitsandbytes" else [*_omitted(own), "lm_head"]
    unknown = "" if found else method
    heads = method in ("compressed-tensors", "modelopt") or own.flag("lm_head")
    return Quantization(found, Omitted(names), only_experts=method == "mxfp4", heads=heads, unknown=unknown)


def _omitted(own: Settings) -> list[str]:
    """Everything that any method may call it."""
    inner = own.below(own.section("quantization"), "")
    names: list[str] = []
    for part in (own, inner):
        for key in (
            "ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude", "llm_int8_skip_modules",
            "ignored_modules",
        ):  # fmt: skip
            names += map(str, part.listing(key) or [])
        extra = part.section("dynamic")  # GPTQModel: "-:pattern" leaves out
        names += [f"re:{key[2:]}" for key in extra if key.startswith("-:")]
        for key, value in part.section("extra_config").items():  # AutoRound
            if isinstance(value, Mapping) and value.get("bits") in (16, 32):
                names.append(key)
    return names


def _schemes(method: str, own: Settings) -> tuple[tuple[Omitted | None, Scheme], ...]:
    match method:
        case "fp8" | "deepseek_v4_fp8":
            size = own.listing("weight_block_size")
            static = own.text("activation_scheme") == "static"
            return ((None, Scheme("fp8", "fp8", block=_pair(size), group=-1, static=static)),)
        case "fbgemm_fp8":
            return ((None, Scheme("fp8", "fbgemm")),)
        case "awq" | "awq_marlin":
            group = own.whole("group_size") or own.whole("q_group_size") or 128
            bits = own.whole("bits") or own.whole("w_bit") or 4
            return ((None, Scheme("awq", bits=bits, group=group)),)
        case "gptq" | "gptq_marlin" | "auto-round" | "auto_round" | "intel/auto-round" | "inc":
            if "awq" in (own.text("packing_format") or ""):
                return ((None, Scheme("awq", bits=own.whole("bits") or 4, group=own.whole("group_size") or 128)),)
            group = own.whole("group_size") or 0
            ordered = method.startswith("gptq")
            return ((None, Scheme("gptq", bits=own.whole("bits") or 4, group=group, ordered=ordered)),)
        case "compressed-tensors" | "compressed_tensors":
            return _compressed(own)
        case "bitsandbytes":
            four = own.flag("load_in_4bit") or own.flag("_load_in_4bit")
            nested = own.flag("bnb_4bit_use_double_quant")
            return ((None, Scheme("bnb4" if four else "bnb8", symmetric=not nested)),)
        case "mxfp4" | "gpt_oss_mxfp4":
            return ((None, Scheme("mxfp4", "blocks")),)
        case "modelopt" | "modelopt_fp4" | "modelopt_mxfp8" | "modelopt_mixed":
            return _modelopt(own)
        case "quark":
            return _quark(own)
        case _:
            return ()


def _compressed(own: Settings) -> tuple[tuple[Omitted | None, Scheme], ...]:
    found: list[tuple[Omitted | None, Scheme]] = []
    for group in own.section("config_groups").values():
        if not isinstance(group, Mapping):
            continue
        row = own.below(group, "")
        targets = [str(one) for one in row.listing("targets") or []]
        some = None if not targets or "Linear" in targets else Omitted(targets)
        kind = row.text("format") or own.text("format") or ""
        found.append((some, _of_weights(own.below(row.section("weights"), ""), row.section("input_activations"), kind)))
    return tuple(sorted(found, key=lambda one: one[0] is None))


def _of_weights(weights: Settings, inputs: Mapping[str, object], kind: str) -> Scheme:
    bits, size = weights.whole("num_bits") or 8, weights.whole("group_size") or 0
    floats, symmetric = weights.text("type") == "float", weights.flag("symmetric", default=True)
    static = bool(inputs) and inputs.get("dynamic") is False
    strategy = weights.text("strategy")
    group = -1 if strategy == "tensor" else size if strategy in ("group", "tensor_group") else 0
    if floats and bits == 4:
        return Scheme("mxfp4" if size == 32 or "mxfp4" in kind else "nvfp4", "ct", static=bool(inputs))
    if floats and size == 32 and strategy == "group":
        return Scheme("mxfp8", "ct")
    if kind == "pack-quantized" or (bits < 8 and not floats):
        ordered = weights.get("actorder") in ("group", True)
        return Scheme("packed", "ct", bits, group, symmetric=symmetric, ordered=ordered)
    block = _pair(weights.listing("block_structure")) if strategy == "block" else None
    return Scheme("fp8" if floats else "int8", "ct", bits, group, block, symmetric, static)


def _modelopt(own: Settings) -> tuple[tuple[Omitted | None, Scheme], ...]:
    inner = own.below(own.section("quantization"), "") if own.section("quantization") else own
    found: list[tuple[Omitted | None, Scheme]] = []
    for name, row in inner.section("quantized_layers").items():
        if isinstance(row, Mapping) and (scheme := _algorithm(str(row.get("quant_algo", "")))):
            found.append((Omitted([name]), scheme))
    if found:
        merged: dict[Scheme, list[str]] = {}
        for name, row in inner.section("quantized_layers").items():
            if isinstance(row, Mapping) and (scheme := _algorithm(str(row.get("quant_algo", "")))):
                merged.setdefault(scheme, []).append(name)
        return tuple((Omitted(names), scheme) for scheme, names in merged.items())
    scheme = _algorithm(inner.text("quant_algo") or "")
    if scheme is None and own.section("config_groups"):
        return _compressed(own)
    return ((None, scheme),) if scheme else ()


def _algorithm(name: str) -> Scheme | None:
    match name.upper():
        case "NVFP4" | "NVFP4_AWQ" | "W4A4_NVFP4" | "W4A16_NVFP4":
            return Scheme("nvfp4", "modelopt", static=True)
        case "FP8":
            return Scheme("fp8", "modelopt", group=-1, static=True)
        case "FP8_PER_CHANNEL_PER_TOKEN":
            return Scheme("fp8", "modelopt")
        case "FP8_PB_WO":
            return Scheme("fp8", "modelopt", block=(128, 128))
        case "MXFP8":
            return Scheme("mxfp8", "modelopt")
        case _:
            return None


def _quark(own: Settings) -> tuple[tuple[Omitted | None, Scheme], ...]:
    whole = own.below(own.section("global_quant_config"), "")
    weight = own.below(whole.section("weight"), "")
    dtype, static = weight.text("dtype") or "", bool(whole.section("input_tensors"))
    match dtype:
        case "fp8_e4m3":
            group = 0 if weight.text("qscheme") == "per_channel" else -1
            return ((None, Scheme("fp8", "quark", group=group, static=static and group == -1)),)
        case "fp4" | "mxfp4":
            return ((None, Scheme("mxfp4", "quark")),)
        case "int8":
            return ((None, Scheme("int8", "quark")),)
        case _:
            return ()


def _pair(row: list[object] | None) -> tuple[int, int] | None:
    match row:
        case [int(first), int(second)]:
            return first, second
        case _:
            return None
