"""What lives while the logits of a full batch are sampled: the peak of most profiling runs.

`GPUModelRunner._dummy_sampler_run` samples `min(max_num_seqs, max_num_batched_tokens)` rows with top-k and top-p.
In units of rows × vocabulary × 4 bytes, for 16-bit models, the peak is

    9.5   V0, and V1 until 0.16: ½ logits + 1 in float32 + sorted values 1 + indices 2 + the sort's own 5 (torch's
          segmented sort: indices 2, and CUB's spare keys 1 and values 2); with less than 128 rows the sort takes 8
    3.5   since 0.17: ½ + 1 + probabilities 1 + noise 1, and the buffer of the Triton kernel (SMs × vocabulary × 4)
    3.5   since 0.21 where FlashInfer samples: ½ + 1 + masked logits 1 + probabilities 1
    1.5   second runner until 0.27: ½ + 1;  ½ from 0.28 to 0.32;  3.5 since 0.33, which warms up with top-k and top-p
"""

from __future__ import annotations

from lyc.planning.activation.moments import Moment, Tensor
from lyc.planning.activation.runner import V0, V2
from lyc.records.card import Card
from lyc.records.serving import Serving

_PAD = 64
_MULTIPROCESSORS: tuple[tuple[str, int], ...] = (
    ("rtx pro 6000", 188), ("b300", 148), ("gb200", 148), ("b200", 148), ("gh200", 132), ("h200", 132),
    ("h100 pcie", 114), ("h100", 132), ("a100", 108), ("l40s", 142), ("rtx 6000 ada", 142), ("l4", 58), ("a10", 72),
    ("t4", 40), ("5090", 170), ("5080", 84), ("4090", 128), ("3090", 82), ("a6000", 84), ("mi300x", 304),
)  # fmt: skip
_USUAL_MULTIPROCESSORS = 132


def multiprocessors(card: Card) -> int:
    """SMs of the card, by its name (data sheets); an unknown card has as many as an H100."""
    product = f"{card.product} {card.name}".lower()
    return next((count for part, count in _MULTIPROCESSORS if part in product), _USUAL_MULTIPROCESSORS)


def padded(vocabulary: int, tp: int) -> int:
    """Columns of the output layer: to a multiple of 64, and of tp (`layers/vocab_parallel_embedding.py`)."""
    rounded = -(-vocabulary // _PAD) * _PAD
    return -(-rounded // tp) * tp


def rows(serving: Serving) -> int:
    return min(serving.max_num_seqs, serving.max_num_batched_tokens)


def sampler(vocabulary: int, count: int, serving: Serving, card: Card, runner: str) -> Moment:
    """The fullest moment of sampling `count` rows."""
    width = 4 if serving.dtype == "float32" else 2
    cell = count * vocabulary * 4
    raw = Tensor(f"logits {count}×{vocabulary}", count * padded(vocabulary, serving.tp) * width)
    single = () if width == 4 and runner != V2 else (Tensor("in float32", cell),)
    if runner == V2 and not _samples_v2(serving.version):
        return Moment("sampler", (raw, *(single if serving.version < (0, 28) else ())))
    if runner != V2 and (runner == V0 or serving.version < (0, 17) or count < 8):
        own = 5 if count >= 128 else 8
        sort = (Tensor("sorted values", cell), Tensor("indices", 2 * cell), Tensor("sort", own * cell))
        return Moment("sampler", (raw, *single, *sort))
    if _flashinfer(serving, card):
        pair = (Tensor("masked logits", cell), Tensor("probabilities", cell))
        return Moment("sampler", (raw, *single, *pair))
    programs = min(multiprocessors(card), count)
    rounded = min(1 << (programs - 1).bit_length(), multiprocessors(card))
    buffer = Tensor(f"top-k buffer {rounded}×{vocabulary}", rounded * vocabulary * 4)
    tensors = (raw, *single, Tensor("probabilities", cell), *(() if runner == V2 else (Tensor("noise", cell),)))
    return Moment("sampler", (*tensors, buffer))


def _samples_v2(version: tuple[int, ...]) -> bool:
    """Whether the second runner's profiling filters with top-k and top-p (`gpu/model_runner.py` _dummy_sampler_run)."""
    return version >= (0, 33)


def _flashinfer(serving: Serving, card: Card) -> bool:
    """VLLM_USE_FLASHINFER_SAMPLER is on by default since 0.21, for compute capability 7.5 to 12.1."""
    capability = card.compute_capability
    return serving.version >= (0, 21) and capability is not None and 75 <= capability <= 121
