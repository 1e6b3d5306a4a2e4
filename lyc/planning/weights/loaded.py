"""What vLLM logs as "Model loading took X GiB": bytes that one GPU's weights take, as terms that add up to it.

vLLM measures torch's allocated bytes before and after loading (`gpu_model_runner.load_model` with
`DeviceMemoryProfiler`, 0.6 to 0.33, the V0 worker likewise), so the figure is the run-time parameters of one rank
(`parameters`), what is made beside them (`beside`), a draft model, LoRA's buffers, and what the caching allocator adds
(`allocator`). Pure; sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lyc.planning.weights.allocator import allocated
from lyc.planning.weights.beside import Beside, beside
from lyc.planning.weights.formats import EXPERTS_ONLY, RUNTIME, WHILE_LOADING
from lyc.planning.weights.lora import Buffer, buffers
from lyc.planning.weights.parameters import Parameter, Run, runs
from lyc.planning.weights.reconciled import Reconciled, reconciled
from lyc.planning.weights.roles import Kind, Region
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage, Term
from lyc.units import MIB

_MTP_METHODS = frozenset(("mtp", "deepseek_mtp", "qwen3_next_mtp", "mimo_mtp", "glm4_moe_mtp", "ernie_mtp", "nextn"))
_SOURCE = "vllm/model_executor/models, layers/linear.py, layers/fused_moe, 0.19.0"
_NAMES = {
    Kind.EMBEDDING: "embedding and head", Kind.ATTENTION: "attention", Kind.MLP: "MLP", Kind.EXPERTS: "experts",
    Kind.TOWER: "towers", Kind.REST: "norms and the rest",
}  # fmt: skip


def weights(facts: ModelFacts, serving: Serving, stage: Stage, card: Card | None = None) -> tuple[Term, ...]:
    """Terms (part `weights`) of one GPU of `stage`; their sum is what vLLM logs.

    card decides kernels that repack weights (MXFP4, FP8 on older cards); None = as on Hopper. Without an architecture
    the file's size divided by all GPUs is the only term, with a band of a tenth.
    """
    if facts.architecture is None or not facts.tensors:
        return (_by_size(facts, serving, stage),)
    scale = reconciled(facts)
    if scale.tied and not facts.architecture.tied:
        facts = replace(facts, architecture=replace(facts.architecture, tied=True))
    # a checkpoint that is as small as what is asked for is that already, and not made smaller while loading
    stored_small = scale.linear and facts.quantization is None
    loading = replace(serving, quantization=None) if stored_small else serving
    found = [run for run in runs(facts, loading, stage, card) if run.region is not Region.MTP or _wants_mtp(serving)]
    extra = beside(facts, serving, stage, card)
    drafted = _draft(serving, stage, card)
    loras = buffers(facts, serving, stage)
    found = _scaled(found, scale, facts, serving)
    plain = sum(p.size * run.layers for run in found for p in run.parameters)
    plain += sum(item.size * item.count for item in extra) + sum(item.size * item.count for item in loras)
    terms = _parameter_terms(found, scale)
    terms += [_term(item.name, item.size * item.count, item.formula, item.source) for item in _joined(extra)]
    if loras:
        total = sum(item.size * item.count for item in loras)
        terms.append(_term("LoRA", total, _lora_formula(serving), "vllm/lora/layers, 0.19.0", band=total // 50))
    terms += drafted
    if not serving.on_cpu:
        terms.append(
            _term(
                "allocator rounding",
                _counted(found, extra, loras) - plain,
                "blocks that torch does not split count whole",
                "c10/cuda/CUDACachingAllocator.cpp should_split; lyc.planning.weights.allocator",
                band=4 * MIB,
            )
        )
    return tuple(term for term in terms if term.size or term.band)


def likeness(facts: ModelFacts, serving: Serving, card: Card) -> tuple[object, ...]:
    """What of the options and of the card these terms depend on: equal likeness, equal `weights` on the same stage.

    For remembering them over many cards: those of most models are the same on all.
    """
    capability = card.compute_capability or 0
    method = facts.quantization or serving.quantization
    latent = facts.architecture is not None and any(layer.latent for layer in facts.architecture.layers)
    return (
        serving.version, serving.tp, serving.pp, RUNTIME.get(serving.dtype), serving.quantization, serving.adapter,
        serving.max_loras, serving.draft and serving.draft.method, serving.on_cpu, card.vendor,
        serving.max_num_batched_tokens if latent or (facts.architecture and facts.architecture.towers) else None,
        method and (capability < 89, 90 <= capability < 100, 100 <= capability < 110),
        latent and 100 <= capability < 110,
    )  # fmt: skip


def _wants_mtp(serving: Serving) -> bool:
    return serving.draft is not None and serving.draft.method in _MTP_METHODS


def _term(name: str, size: int, formula: str, source: str, band: int = 0) -> Term:
    return Term("weights", name, size, formula, source, band)


def _by_size(facts: ModelFacts, serving: Serving, stage: Stage) -> Term:
    size = (facts.weights_bytes or 0) // (serving.tp * stage.of)
    formula = f"{facts.weights_bytes or 0} B ÷ ({serving.tp} × {stage.of})"
    return _term("weights", size, formula, "the size of the files alone: the architecture is not known", size // 10)


def _counted(found: Sequence[Run], extra: Sequence[Beside], loras: Sequence[Buffer]) -> int:
    """Bytes by the allocator, in vLLM's order: what comes first, the layers, what is made after loading, LoRA."""
    early = [([item.size], item.count) for item in extra if item.early]
    late = [([item.size], item.count) for item in extra if not item.early]
    lists: dict[int, list[int]] = {}
    for run in found:
        if id(run.parameters) not in lists:
            lists[id(run.parameters)] = [parameter.size for parameter in run.parameters]
    sizes = [(lists[id(run.parameters)], run.layers) for run in found]
    return allocated([*early, *sizes, *late, *(([item.size], item.count) for item in loras)])


def _parameter_terms(found: Sequence[Run], scale: Reconciled) -> list[Term]:
    """One term for each kind. Layers with equal parameters are told together, wherever they stand."""
    layers: dict[int, int] = {}
    runs_of = {id(run.parameters): run for run in found}
    for run in found:
        layers[id(run.parameters)] = layers.get(id(run.parameters), 0) + run.layers
    sizes: dict[str, int] = {}
    guessed: dict[str, int] = {}
    parts: dict[str, list[str]] = {}
    for key, count in layers.items():
        each: dict[str, int] = {}
        for parameter in runs_of[key].parameters:
            name = "MTP layers" if runs_of[key].region is Region.MTP else _NAMES[parameter.kind]
            each[name] = each.get(name, 0) + parameter.size
            if parameter.guessed:
                guessed[name] = guessed.get(name, 0) + parameter.size * count
        for name, size in each.items():
            sizes[name] = sizes.get(name, 0) + size * count
            parts.setdefault(name, []).append(f"{count} × {size}" if count > 1 else str(size))
    return [
        _term(
            name,
            size,
            f"{' + '.join(parts[name])} B",
            _SOURCE,
            int(size * (scale.towers_unsure if name == _NAMES[Kind.TOWER] else scale.unsure)) + guessed.get(name, 0),
        )
        for name, size in sizes.items()
    ]


def _joined(extra: Sequence[Beside]) -> list[Beside]:
    """Entries of one name together, so that a person reads `rope table` once."""
    found: dict[str, Beside] = {}
    for item in extra:
        before = found.get(item.name)
        if before is None:
            found[item.name] = item
        else:
            size = before.size * before.count + item.size * item.count
            found[item.name] = replace(before, size=size, count=1, formula=f"{before.formula} + {item.formula}")
    return list(found.values())


def _lora_formula(serving: Serving) -> str:
    rank = serving.adapter.rank if serving.adapter else 0
    return f"{serving.max_loras} adapters, rank {rank}: A and B of every linear layer that LoRA can target"


def _draft(serving: Serving, stage: Stage, card: Card | None) -> list[Term]:
    """The draft model's own weights; it stands on the last stage and shares embedding and head where it has none."""
    draft = serving.draft
    if draft is None or draft.facts is None or draft.facts.architecture is None or not stage.samples:
        return []
    alone = replace(serving, draft=None, adapter=None, quantization=None, pp=1)
    whole = Stage(0, 1, 0, len(draft.facts.architecture.layers))
    size = sum(term.size for term in weights(draft.facts, alone, whole, card))
    return [
        _term("draft model", size, "its own weights on this rank", "vllm/v1/spec_decode/eagle.py, 0.19.0", size // 50)
    ]


def _scaled(found: Sequence[Run], scale: Reconciled, facts: ModelFacts, serving: Serving) -> list[Run]:
    """With the difference to the checkpoint's total. Towers are quantized while loading as the rest is."""
    if scale.factor != 1 or scale.of_towers != 1:
        found = [Run(tuple(_by(p, scale) for p in run.parameters), run.layers, run.region) for run in found]
    if not scale.towers:
        return list(found)
    asked = serving.quantization if facts.quantization is None and serving.quantization not in EXPERTS_ONLY else None
    each = WHILE_LOADING.get(asked or "", 2.0) / 2
    return [*found, Run((Parameter("towers", Kind.TOWER, int(scale.towers * each) // serving.tp),), 1, Region.TOWER)]


def _by(parameter: Parameter, scale: Reconciled) -> Parameter:
    factor = scale.of_towers if parameter.kind is Kind.TOWER else scale.factor
    if factor == 1 or (scale.linear and parameter.kind in (Kind.EMBEDDING, Kind.REST)):
        return parameter
    return replace(parameter, size=int(parameter.size * factor))
