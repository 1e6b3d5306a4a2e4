"""Tokens of a block: what vLLM chooses where `--block-size` is not given, by version, kernel and card."""

from __future__ import annotations

from math import lcm

from lyc.planning.cache.states import MIXERS
from lyc.records.architecture import Layer, Mixer
from lyc.records.serving import Serving

BLOCK = 16
LATENT = frozenset({Mixer.LATENT, Mixer.SPARSE_LATENT})
_HOPPER, _BLACKWELL = 9, 10
_CHECKPOINT = 64
_KEY = 128


def preferred(layers: tuple[Layer, ...], serving: Serving) -> int:
    """Tokens of a block before states are fitted into it. An unknown card counts as Hopper.

    vllm/platforms/cuda.py check_and_update_config (0.8.5 to 0.17.0), vllm/platforms/interface.py
    update_block_size_for_backend and the attention backends' get_supported_kernel_block_sizes (0.18.0 on).
    """
    if serving.block_size is not None:
        return serving.block_size
    kinds = {layer.mixer for layer in layers}
    if serving.on_cpu:
        return BLOCK if kinds & LATENT else 128
    if Mixer.SPARSE_LATENT in kinds:
        return 64
    if Mixer.LATENT in kinds:
        return _latent(serving)
    return BLOCK


def _latent(serving: Serving) -> int:
    version, family = serving.version, _family(serving)
    if family == _BLACKWELL:
        if version < (0, 9, 2):
            return BLOCK
        if version < (0, 15):
            return 128
        return 64 if version < (0, 18) else 32
    if family == _HOPPER and (0, 8) <= version < (0, 18):
        return 64
    return BLOCK


def fitted(layers: tuple[Layer, ...], serving: Serving, *, page: int, token: int, prefixes: bool) -> int:
    """Tokens of an attention block whose page is no smaller than a recurrent state of `page` bytes.

    token: bytes of one token in one attention layer. prefixes: whether states are cached for reuse.
    vllm/model_executor/models/config.py HybridAttentionMambaModelConfig (0.10.2 to 0.19.0), vllm/platforms/interface.py
    _align_hybrid_block_size (0.20.0 on).
    """
    block = preferred(layers, serving)
    if not page or not token:
        return block
    step = _step(layers, serving, block)
    if prefixes and serving.version >= (0, 33) and _flashinfer_delta(layers, serving):
        step = lcm(step, _CHECKPOINT)
    return max(block, step * -(-page // (step * token)))


def _step(layers: tuple[Layer, ...], serving: Serving, block: int) -> int:
    version, latent = serving.version, any(layer.mixer in LATENT for layer in layers)
    if version < (0, 20):
        if version < (0, 12):
            return BLOCK
        wide = any(layer.head_size == 256 for layer in layers)
        return 64 if latent else 32 if wide and _family(serving) == _BLACKWELL else BLOCK
    smallest = max(BLOCK, block)
    return max(smallest, 128) if latent and version >= (0, 28) else smallest


def exports_checkpoints(layers: tuple[Layer, ...], name: str, serving: Serving) -> bool:
    """Whether a prefill leaves one more state behind, where prefixes are cached. name: of the architecture.

    vllm/model_executor/layers/mamba: mamba_mixer2.py, 0.32.0, and gdn/qwen_gdn_linear_attn.py, 0.33.0;
    vllm/models/kimi_k3/nvidia/kda.py, 0.29.0.
    """
    kinds = _recurrent(layers)
    if kinds == {Mixer.MAMBA2}:
        return serving.version >= (0, 32)
    if kinds == {Mixer.KIMI_DELTA}:
        flash = name.startswith("KimiK3") and not serving.on_cpu and _family(serving) >= _HOPPER
        return flash and serving.version >= (0, 29)
    return serving.version >= (0, 33) and _flashinfer_delta(layers, serving)


def _recurrent(layers: tuple[Layer, ...]) -> set[Mixer]:
    """Kinds of the states. Attention with a state beside it, as Falcon-H1 has, is Mamba 2."""
    return {layer.mixer if layer.mixer in MIXERS else Mixer.MAMBA2 for layer in layers if layer.state is not None}


def _flashinfer_delta(layers: tuple[Layer, ...], serving: Serving) -> bool:
    """Whether FlashInfer's kernel computes the prefill of gated delta nets."""
    if serving.on_cpu or _recurrent(layers) != {Mixer.GATED_DELTA}:
        return False
    keys = next(layer.state.state_size for layer in layers if layer.state is not None)
    family = _family(serving)
    return family == _HOPPER or (family >= _BLACKWELL and keys == _KEY)


def _family(serving: Serving) -> int:
    return _HOPPER if serving.capability is None else serving.capability // 10
