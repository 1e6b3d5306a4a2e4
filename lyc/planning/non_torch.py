"""Memory of a GPU that torch does not manage: kernels, cuBLAS, NCCL. The source cannot tell it: fitted, with bands."""

from __future__ import annotations

from lyc.records.card import Card
from lyc.records.serving import Serving, Term
from lyc.units import GIB

_CONTEXT = int(0.51 * GIB)
"""CUDA's context of a fresh process: 79.19 − 78.68 GiB on H100 (gpus.csv)."""
_CONTEXT_NCCL = int(1.53 * GIB)
"""The same with NCCL over NVLink: 79.19 − 77.66 GiB, H100 tp 2, 0.19 (gpus.csv)."""
_CONTEXT_PCIE = int(0.9 * GIB)


def before_start(serving: Serving, card: Card) -> int:
    """Bytes in use before vLLM looks at the card for the first time. Fitted."""
    if serving.tp * serving.pp == 1:
        return _CONTEXT
    return _CONTEXT_NCCL if card.link in ("nvlink", "xgmi") and serving.tp > 1 else _CONTEXT_PCIE


def non_torch(serving: Serving, card: Card) -> Term:
    """What grows outside torch between the first look and the end of profiling (`mem_utils.memory_profiling`)."""
    if serving.on_cpu:
        return Term("non_torch", "outside torch", 0, "0 on a CPU", "the CPU worker counts none")
    gib, why, band = _gib(serving, card)
    size = int(gib * GIB)
    formula = f"{gib:.2f} GiB"
    if (0, 8) <= serving.version < (0, 9) and (card.compute_capability or 0) >= 80:
        size += _CONTEXT  # 0.8 counted the whole card, CUDA's context with it (`v1/worker/gpu_worker.py`, 0.8.5)
        formula = f"{formula} + context {_CONTEXT / GIB:.2f} GiB"
    return Term("non_torch", "outside torch", size, formula, why, int(band * GIB))


def _gib(serving: Serving, card: Card) -> tuple[float, str, float]:
    """(GiB, source, band in GiB). From 0.18 to 0.26 what CUDA graphs leave, tried out for their size, counts, too."""
    version, hopper = serving.version, card.compute_capability == 90
    if serving.tp > 1:
        return _over_cards(serving, card)
    if serving.pp > 1:
        return 0.07, "fitted: starts 26 and 27 (H100, 0.19)", 0.1
    tried = (0, 18) <= version < (0, 27) and not serving.enforce_eager
    if hopper and tried:
        return 0.25, "fitted: H100, 0.18 and 0.19 (starts 3 to 68)", 0.03 if version < (0, 20) else 0.15
    if hopper:
        return 0.13, "fitted: H100, 0.11 to 0.17 (starts 65 to 95)", 0.03 if version < (0, 18) else 0.15
    if tried:
        return 0.12, "fitted: A10G, 0.22 (row 109); CUDA graphs are tried out while memory is profiled", 0.15
    return 0.03, "fitted: T4, A10G, A100, L40S (starts 122, 128, 130, 159, 196 to 203)", 0.1


def _over_cards(serving: Serving, card: Card) -> tuple[float, str, float]:
    version, tp, cc = serving.version, serving.tp, card.compute_capability or 0
    if card.link == "pcie":
        return 0.21, "fitted: L40S tp 8, 0.10 (row 158)", 0.4
    if cc >= 100:
        return 0.95, "fitted: GB200 tp 4 (row 149)", 0.8
    # 0.17 turned on the fusion of all-reduce and norm (`config/vllm.py` enable_allreduce_rms_fusion), with FlashInfer's
    # buffers between the cards, on Hopper and later.
    if version >= (0, 17) and cc == 90:
        gib = 2.07 if tp == 2 else 2.15
        return (
            gib,
            "fitted: H100 tp 2 and tp 4, 0.19 (starts 4, 5, 28, 29, 44 to 59)",
            0.1 if version < (0, 20) else 0.6,
        )
    if version >= (0, 17):
        return 0.67, "fitted: H100 tp 2, 0.11 (starts 92 and 96), and CUDA graphs", 0.6
    return 0.55, "fitted: H100 tp 2, 0.11 (starts 92 and 96)", 0.1 if cc == 90 and version < (0, 12) else 0.5
