"""Bytes of the state that a recurrent layer keeps for one request, on one GPU."""

from __future__ import annotations

from math import prod

from lyc.planning.cache.dtype import BYTES
from lyc.records.architecture import Mixer, State
from lyc.records.serving import Serving

MIXERS = frozenset({Mixer.MAMBA1, Mixer.MAMBA2, Mixer.GATED_DELTA, Mixer.KIMI_DELTA, Mixer.LIGHTNING, Mixer.SHORT_CONV})

AMX = (0, 26)
"""First version whose CPU build keeps states in float32 where the processor has AMX, which lyc does not know."""


def state_bytes(mixer: Mixer, state: State, name: str, serving: Serving) -> tuple[int, str]:
    """Bytes of a layer's state and the sum that gives them. name: of the architecture.

    vllm/model_executor/layers/mamba/mamba_utils.py MambaStateShapeCalculator and MambaStateDtypeCalculator, 0.10.2 to
    0.33.0. The heads are split over tp; groups that tp does not divide become tp (`extra_groups_for_head_shards`).
    Speculated tokens lengthen the convolution's state.
    """
    element = BYTES.get(serving.dtype, 2)
    recurrent = BYTES.get(_recurrent_dtype(mixer, state, name, serving), element)
    conv, matrix = _shapes(mixer, state, serving)
    size = prod(conv) * element + prod(matrix) * recurrent
    parts = [
        f"{' × '.join(map(str, shape))} × {b} B" for shape, b in ((conv, element), (matrix, recurrent)) if prod(shape)
    ]
    return size, parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _shapes(mixer: Mixer, state: State, serving: Serving) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the convolution's and of the recurrent state on one GPU; (0,) where there is none."""
    tp, inner = serving.tp, state.heads * state.head_size
    ahead = serving.draft.tokens if serving.draft else 0
    columns = max(state.conv_kernel - 1, 0)
    if mixer is Mixer.MAMBA1:
        return (columns, inner // tp), (inner // tp, state.state_size)
    if mixer is Mixer.MAMBA2:
        groups = state.groups if state.groups % tp == 0 else tp
        extra = ahead if serving.version >= (0, 17) else 0
        return (columns + extra, (inner + 2 * groups * state.state_size) // tp), (
            state.heads // tp, state.head_size, state.state_size,
        )  # fmt: skip
    if mixer is Mixer.GATED_DELTA:
        channels = 2 * state.groups * state.state_size + inner
        return (columns + ahead, channels // tp), (state.heads // tp, state.head_size, state.state_size)
    if mixer is Mixer.KIMI_DELTA:
        extra = ahead if serving.version >= (0, 26) else 0
        return (columns + extra, 3 * inner // tp), (state.heads // tp, state.head_size, state.head_size)
    if mixer is Mixer.LIGHTNING:
        return (0,), (state.heads // tp, state.head_size, state.head_size)
    extra = ahead if serving.version >= (0, 29) else 0
    return (columns + extra, inner // tp), (0,)


def _recurrent_dtype(mixer: Mixer, state: State, name: str, serving: Serving) -> str:
    """Nemotron-H and Qwen3.5 heed their config.json, all others keep the model's type, Kimi's delta rule float32.

    vllm/model_executor/models/config.py NemotronHForCausalLMConfig, 0.13.0, and Qwen3_5ForConditionalGenerationConfig,
    0.17.0. On the CPU build all states are float32 if the processor has AMX, as servers do (platforms/cpu.py, 0.26.0).
    """
    if mixer is Mixer.KIMI_DELTA or (serving.on_cpu and serving.version >= AMX):
        return "float32"
    if name.startswith("NemotronH") and serving.version >= (0, 13):
        return state.dtype or ("float32" if serving.version >= (0, 20) else "float16")
    if mixer is Mixer.GATED_DELTA and state.dtype and serving.version >= (0, 17):
        return state.dtype
    return serving.dtype
