"""What a model is built of: its layers, and its tensors. Sizes are numbers of elements unless said otherwise."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Mixer(enum.StrEnum):
    """How a layer mixes tokens, and so what it keeps of those it has seen.

    FULL keys and values of every token; SLIDING and CHUNKED of the last `window`; LATENT one compressed vector a
    token (MLA); SPARSE_LATENT that and the index of sparse attention (DSA); the others a state whose size does not
    grow with the text: MAMBA1, MAMBA2, GATED_DELTA (Qwen3-Next's), KIMI_DELTA, LIGHTNING (MiniMax's), SHORT_CONV
    (LFM2's). NONE: the layer has only an MLP. UNKNOWN: a kind that lyc cannot size.
    """

    FULL = "full"
    SLIDING = "sliding"
    CHUNKED = "chunked"
    LATENT = "latent"
    SPARSE_LATENT = "sparse-latent"
    MAMBA1 = "mamba1"
    MAMBA2 = "mamba2"
    GATED_DELTA = "gated-delta"
    KIMI_DELTA = "kimi-delta"
    LIGHTNING = "lightning"
    SHORT_CONV = "short-conv"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention. q_rank None: queries are not compressed. index_*: of sparse attention, else 0."""

    kv_rank: int
    rope: int
    nope: int
    value: int
    q_rank: int | None = None
    index_heads: int = 0
    index_head_size: int = 0
    index_top_k: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Dimensions of a recurrent layer, by the names of Mamba 2.

    heads × head_size: the inner width (for GATED_DELTA the value heads). state_size: columns of each head's state
    (for GATED_DELTA the size of a key head). groups: of B and C (for GATED_DELTA the key heads). conv_kernel: 0 = no
    convolution. dtype: of the recurrent state where config.json names one (`mamba_ssm_dtype`), else None.
    """

    heads: int
    head_size: int
    state_size: int
    groups: int = 1
    conv_kernel: int = 0
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts. intermediate: width of one. shared_intermediate: of what every token passes, 0 = none."""

    count: int
    per_token: int
    intermediate: int
    shared_intermediate: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer. intermediate: width of its dense MLP, 0 where it has experts or none.

    window: tokens that sliding or chunked attention looks back. shares_kv: reads an earlier layer's cache, keeps none.
    gated: the MLP has a gate beside `up`. value_head_size equals head_size but in few families. FULL with a `state`:
    attention and a Mamba 2 state side by side (Falcon-H1).
    """

    mixer: Mixer
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    value_head_size: int = 0
    window: int | None = None
    shares_kv: bool = False
    latent: Latent | None = None
    state: State | None = None
    intermediate: int = 0
    gated: bool = True
    experts: Experts | None = None


@dataclass(frozen=True, slots=True)
class Rope:
    """One table of cosines and sines, which every GPU keeps whole: positions × dim elements at the model's dtype."""

    positions: int
    dim: int


@dataclass(frozen=True, slots=True)
class Tower:
    """An encoder of images, video or sound beside the language model. max_tokens: that one item becomes, 0 = unknown.

    max_patches: inputs of the encoder for the largest item, 0 = unknown (one token is often four or more patches).
    """

    kind: str  # vision | audio
    hidden: int = 0
    layers: int = 0
    heads: int = 0
    intermediate: int = 0
    max_tokens: int = 0
    max_patches: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """The language model as config.json describes it, with what stands beside it.

    name: of the class (`LlamaForCausalLM`). known: the family is one whose layers lyc can tell for sure. positions:
    the longest text (with scaling applied, as vLLM derives it). mtp: layers for multi-token prediction, loaded only
    for that. tied: one table serves as embedding and as output. unknown: names of what config.json does not say and
    lyc needed.
    """

    name: str
    hidden: int
    vocab: int
    dtype: str
    layers: tuple[Layer, ...]
    positions: int | None = None
    tied: bool = False
    mtp: tuple[Layer, ...] = ()
    ropes: tuple[Rope, ...] = ()
    towers: tuple[Tower, ...] = ()
    known: bool = True
    unknown: tuple[str, ...] = ()


DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Of one element, by the dtypes of safetensors."""


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors of a checkpoint that are alike.

    name: with the layer's number written `{layer}` and an expert's `{expert}`, as in
    `model.layers.{layer}.mlp.experts.{expert}.up_proj.weight`. shape, dtype: of each one; dtype as safetensors names it
    (`BF16`). layers: the numbers that occur; empty = it stands in no numbered layer. experts: of each layer, 0 = none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layers: tuple[int, ...] = ()
    experts: int = 0

    @property
    def count(self) -> int:
        return max(len(self.layers), 1) * max(self.experts, 1)

    @property
    def size(self) -> int:
        """Bytes of all of them. A dtype that safetensors does not have counts 16 bits."""
        return self.count * math.prod(self.shape) * DTYPE_BITS.get(self.dtype, 16) // 8


class TensorsFrom(enum.StrEnum):
    """Where the tensors were read: HEADERS exact; INDEX names and total exact, shapes by config; CONFIG all by
    config.
    """

    HEADERS = "headers"
    INDEX = "index"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """A LoRA adapter. base: as `base_model_name_or_path` has it. targets: module names. weights_bytes: of its file."""

    base: str | None
    rank: int
    targets: tuple[str, ...]
    alpha: int | None = None
    weights_bytes: int | None = None
    dtype: str | None = None
