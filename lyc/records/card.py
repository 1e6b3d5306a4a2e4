"""A GPU as the catalogue knows it, and what it costs to rent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Card:
    """One kind of GPU.

    name: as `--gpu` takes it (`h100`, `a100-40`). memory: bytes as sold, where a GB is 2^30; memory_kind: `HBM3`,
    `GDDR6 ECC` (error correction that takes part of it). cuda_total: bytes that CUDA reports, always less; measured:
    whether that was seen on a real card or derived. bandwidth: bytes/s. bf16, fp16, fp8, fp4, int8: dense operations a
    second of the matrix units (a multiply-add counts two), 0 = the card has none. compute_capability: 90 means 9.0;
    None on AMD. link: nvlink | pcie | xgmi; link_bandwidth: bytes/s that one card sends to the others of its host.
    per_host: the most in one machine as sold. sources: where each figure comes from. aliases: other names that `--gpu`
    takes. products: as nvidia-smi prints it; the first is `product`.
    """

    name: str
    product: str
    vendor: str
    memory: int
    cuda_total: int
    measured: bool
    bandwidth: int
    bf16: int
    fp16: int
    fp8: int
    fp4: int
    compute_capability: int | None
    link: str
    per_host: int
    sources: tuple[str, ...]
    int8: int = 0
    link_bandwidth: int = 0
    aliases: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    memory_kind: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What one card costs for an hour.

    currency: ISO code, as billed. dated: ISO day on which it was seen; empty = unknown. source: who asks it. country:
    where the machine stands (ISO 3166, `FI`); empty = unknown. region: the provider's own name of the place. page:
    where the price was read.
    """

    amount: Decimal
    currency: str
    dated: str
    source: str
    country: str = ""
    region: str = ""
    page: str = ""
