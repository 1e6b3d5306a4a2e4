"""What changed when in the way vLLM lays out and reports its KV cache. One row a fact, nothing else.

Each field of `Rules` names the first version that has it and the function that shows it, read in the sources of 0.6.6
to 0.33.0. Between two versions that were read, a change is dated to the later one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """How one version does it.

    latent: MLA caches one compressed vector a token, instead of padded heads (0.7, MLAAttention).
    windows: sliding layers beside full ones get block tables of their own; before, they were sized as full attention
        (0.9.1, v1/core/kv_cache_utils.py unify_hybrid_kv_cache_specs).
    chunks: chunked layers are told from full ones (0.10, ChunkedLocalAttentionSpec); until 0.14 a model that has them
        loses all block tables but one (`chunks_unite`, VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE).
    states: recurrent states live in the pages of the KV cache; before, beside it (0.10.2, MambaSpec).
    whole: groups are made over the layers of all pipeline stages, not of each (0.11, get_kv_cache_configs).
    uneven: layers of one kind with unequal pages share one group (0.11, UniformTypeKVCacheSpecs).
    padding: the group takes the larger count of layers when it is less than this times the smaller; None = never
        (0.12: 1.25, 0.18: 1.5, _get_kv_cache_groups_uniform_page_size).
    grouped_check: the start check counts groups with their padding, not layers
        (0.14, _max_memory_usage_bytes_from_groups); until 0.19 those of the first group alone (`first_check`).
    projected: it counts those of each pipeline stage against its own memory; from 0.14 until then those of the whole
        model against the least memory of a stage (0.17, _project_kv_cache_groups_to_worker).
    null_block: the check leaves out the block that is never given away (0.29, get_kv_cache_configs).
    by_request: "GPU KV cache size" is concurrency × max_model_len, not blocks // groups × block
        (0.21, _report_kv_cache_config).
    in_flight: windows hold the tokens of every batch under way, not of one (0.26, VllmConfig.max_in_flight_tokens).
    draft_states: each speculative token has a state of its own (0.16, MambaSpec.max_memory_usage_bytes).
    hybrid_prefixes: hybrid models cache prefixes by default, which takes a second state (0.28, arg_utils.py).
    checkpoint_dtype: a modelopt checkpoint chooses the cache's type (0.14, resolve_kv_cache_dtype_string).
    scheme_dtype: so does `kv_cache_scheme` (0.15, attention layer); before 0.22 even against the flag.
    """

    latent: bool
    windows: bool
    chunks: bool
    chunks_unite: bool
    states: bool
    whole: bool
    uneven: bool
    padding: Fraction | None
    grouped_check: bool
    first_check: bool
    projected: bool
    null_block: bool
    by_request: bool
    in_flight: bool
    draft_states: bool
    hybrid_prefixes: bool
    checkpoint_dtype: bool
    scheme_dtype: bool
    scheme_wins: bool


@functools.lru_cache(maxsize=64)
def rules(version: Version) -> Rules:
    """The rules of a version, given as numbers: (0, 19, 0)."""
    padding = None if version < (0, 12) else Fraction(5, 4) if version < (0, 18) else Fraction(3, 2)
    return Rules(
        latent=version >= (0, 7),
        windows=version >= (0, 9, 1),
        chunks=version >= (0, 10),
        chunks_unite=(0, 10) <= version < (0, 14),
        states=version >= (0, 10, 2),
        whole=version >= (0, 11),
        uneven=version >= (0, 11),
        padding=padding,
        grouped_check=version >= (0, 14),
        first_check=(0, 14) <= version < (0, 19),
        projected=version >= (0, 17),
        null_block=version >= (0, 29),
        by_request=version >= (0, 21),
        in_flight=version >= (0, 26),
        draft_states=version >= (0, 16),
        hybrid_prefixes=version >= (0, 28),
        checkpoint_dtype=version >= (0, 14),
        scheme_dtype=version >= (0, 15),
        scheme_wins=(0, 15) <= version < (0, 22),
    )
