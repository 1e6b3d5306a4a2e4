"""The peak of torch's memory while vLLM profiles itself, by what lives at once. Pure."""

from __future__ import annotations

from lyc.planning.activation.encoder import Encoding, encoder, largest_item
from lyc.planning.activation.experts import experts
from lyc.planning.activation.forward import forward
from lyc.planning.activation.moments import Moment, Tensor, peak, total
from lyc.planning.activation.runner import V0, V1, V2, runner
from lyc.planning.activation.sampler import rows, sampler
from lyc.planning.defaults import pools
from lyc.records.architecture import Architecture
from lyc.records.card import Card
from lyc.records.model import ModelFacts
from lyc.records.serving import Serving, Stage, Term
from lyc.units import GIB, KIB, MIB

_SOURCE = "vllm/v1/worker/gpu_model_runner.py profile_run, mem_utils.memory_profiling, 0.19.0"
_SMALL = 3 * MIB // 2
"""Positions, slots and vectors of one number a request. Fitted: starts 19, 49, 90 and 95 leave 1.3 to 2 MiB."""
_CONSUMED_SINCE = (0, 27)
"""Since here memory is taken as what is missing on the card, so buffers made before the run count, too."""
_MEASURED = ((0, 19), (0, 18), (0, 17), (0, 16), (0, 15), (0, 11))


def activation(facts: ModelFacts, serving: Serving, card: Card, stage: Stage) -> tuple[Term, ...]:
    """Terms of part `activation` (and one of `non_torch` where the sampler's kernel needs more), for one stage's GPU.

    Empty for a model without architecture, and on the CPU, whose KV cache is given and not measured.
    """
    architecture = facts.architecture
    if architecture is None or serving.on_cpu:
        return ()
    found = runner(serving, card, facts)
    moments, kept = _moments(facts, architecture, serving, card, stage, found=found)
    most = peak(moment.beside(kept) for moment in moments)
    terms = [
        Term("activation", "activations", most.size, most.formula, _SOURCE, _band(architecture, serving, card, most))
    ]
    if serving.version >= _CONSUMED_SINCE:
        terms.append(_buffers(architecture, serving, stage, found))
    if extra := _unaligned(architecture, serving, card, stage):
        terms.append(extra)
    return tuple(terms)


def _moments(
    facts: ModelFacts, architecture: Architecture, serving: Serving, card: Card, stage: Stage, *, found: str
) -> tuple[list[Moment], tuple[Tensor, ...]]:
    """(the moments of the run, what stays allocated through all of them)."""
    hidden, item = architecture.hidden, 4 if serving.dtype == "float32" else 2
    tokens = serving.max_num_batched_tokens
    layers = set(architecture.layers[stage.first : stage.last])
    routed = [experts(layer, hidden, facts, serving, card) for layer in layers]
    stays = max((one[0] for one in routed), key=total, default=())
    inside = max((one[1] for one in routed), key=total, default=())
    kept = [*stays, Tensor("cuBLAS", _cublas(card)), Tensor("small", _SMALL)]
    moments = [forward(architecture, layers, serving, card, runner=found, int8=_int8(facts)).beside(inside)]
    if not stage.embeds:
        kept.append(Tensor(f"from the stage before 2×{tokens}×{hidden}", 2 * tokens * hidden * item))
    images: Encoding | None = encoder(architecture, serving) if stage.embeds else None
    cached = images.kept if images else ()
    moments[0] = moments[0].beside(cached)
    if images:
        moments.append(images.moment)
    if stage.samples and not pools(facts):
        count = _sampled(architecture, serving, found)
        copies = 1 if found == V2 else 2  # the rows that are sampled, and random ones like them
        moment = sampler(architecture.vocab, count, serving, card, found)
        hiddens = (
            Tensor(f"hidden {tokens}×{hidden}", tokens * hidden * item),
            Tensor(f"rows {copies}×{count}×{hidden}", copies * count * hidden * item),
        )
        drafts: tuple[Tensor, ...] = ()
        if serving.draft and found == V1:  # the rejection sampler is tried with one drafted token for each request
            drafts = (Tensor(f"logits of drafts {count}×{architecture.vocab}", count * architecture.vocab * 4),)
        moments.append(moment.beside((*hiddens, *cached, *drafts)))
    return moments, tuple(kept)


def _sampled(architecture: Architecture, serving: Serving, found: str) -> int:
    """Rows of the dummy batch: V0 took only as many sequences as have room for the largest item each."""
    count = rows(serving)
    if found == V0 and architecture.towers:
        tokens = max(largest_item(architecture, tower)[0] for tower in architecture.towers)
        count = max(min(count, serving.max_num_batched_tokens // tokens), 1)
    return count


def _int8(facts: ModelFacts) -> bool:
    """Whether activations are quantized to 8-bit integers (compressed-tensors W8A8)."""
    groups = facts.quantization_detail.get("config_groups")
    found = list(groups.values()) if isinstance(groups, dict) else []
    inputs = [group.get("input_activations") for group in found if isinstance(group, dict)]
    return any(isinstance(one, dict) and one.get("type") == "int" for one in inputs)


def _cublas(card: Card) -> int:
    """torch's workspace for cuBLAS (CUDAContext, getChosenWorkspaceSize): 32 MiB on 9.0 and 10.x, else 8.125."""
    return 32 * MIB if card.compute_capability in (90, 100, 103) else 8 * MIB + 128 * KIB


def _buffers(architecture: Architecture, serving: Serving, stage: Stage, found: str) -> Term:
    """Tensors that the model runner makes before profiling. The second runner's penalties count every token of every
    request (`gpu/sample/penalties.py`: int32 of max_num_seqs × vocabulary, and a bit mask).
    """
    count, vocabulary = serving.max_num_seqs, architecture.vocab
    item = 4 if serving.dtype == "float32" else 2
    tables = 2 * count * -(-serving.max_model_len // 16) * 4
    size, formula = tables, f"block tables 2×{count}×{-(-serving.max_model_len // 16)}×4"
    if architecture.towers:
        size += serving.max_num_batched_tokens * architecture.hidden * item
        formula += f" + embeddings {serving.max_num_batched_tokens}×{architecture.hidden}×{item}"
    if found == V2 and stage.samples:
        size += count * vocabulary * 4 + count * -(-vocabulary // 32) * 4 + count * (3 * 1024 + 128) * 4
        formula += f" + penalties {count}×{vocabulary}×(4+1/8) + biases {count}×3200×4"
    return Term("activation", "buffers of the runner", size, formula, "v1/worker/gpu/sample/*.py, 0.28.0", 64 * MIB)


def _unaligned(architecture: Architecture, serving: Serving, card: Card, stage: Stage) -> Term | None:
    """The Triton sampler compiled for an odd vocabulary spills registers, for which the driver sets memory aside."""
    triton = (0, 17) <= serving.version < (0, 21)
    if not triton or not stage.samples or serving.pp > 1 or architecture.vocab % 2 == 0:
        return None
    gib = (0.21 if serving.tp == 1 else 0.06) if card.compute_capability == 90 else 0.1
    size = int(gib * GIB)
    return Term(
        "non_torch", "sampler's spilled registers", size, f"vocabulary {architecture.vocab} is odd",
        "fitted: starts 14 to 16 and 72 to 74 (H100, 0.19), beside those of an even vocabulary", size // 2,
    )  # fmt: skip


def _band(architecture: Architecture, serving: Serving, card: Card, most: Moment) -> int:
    """0.02 GiB where the sampler decides and logged starts confirm it; else more, by what decides."""
    known = serving.version[:2] in _MEASURED
    if most.name.endswith("encoder"):
        return int(1.0 * GIB)
    if most.name == "forward":
        return int((0.25 if known else 0.5) * GIB)
    band = 0.03 if known else 0.3
    if not architecture.known:
        band += 0.5
    if any(layer.experts for layer in architecture.layers) and not (known and card.compute_capability == 90):
        band += 0.3
    return int(band * GIB)
