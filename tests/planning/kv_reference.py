"""Run by the engine's own Python: what vLLM's functions make of layers and memory. JSON in on stdin, out on stdout."""

from __future__ import annotations

import json
import logging
import re
import sys
from types import SimpleNamespace

import torch
from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator as Shapes
from vllm.v1 import kv_cache_interface as interface
from vllm.v1.core import kv_cache_utils as planner

LEAST = 16  # tokens of a block of most attention kernels


def config(case):
    """As much of a VllmConfig as the functions look at."""
    return SimpleNamespace(
        model_config=SimpleNamespace(
            max_model_len=case["length"],
            original_max_model_len=case["length"],
            hf_config=SimpleNamespace(model_type="x"),
        ),
        parallel_config=SimpleNamespace(
            decode_context_parallel_size=1, prefill_context_parallel_size=1, tensor_parallel_size=case["tp"]
        ),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False, max_num_batched_tokens=case["batch"]),
        cache_config=SimpleNamespace(
            num_gpu_blocks_override=None,
            mamba_cache_mode="align",
            prefix_cache_retention_interval=None,
            get_resolved_kv_cache_layout=lambda: planner.KVCacheLayout.LBNHC,
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        kv_transfer_config=None,
        num_prefill_lookahead_tokens=0,
        max_in_flight_tokens=(len(case["stages"]) + 1) * case["batch"],
    )


def state_shapes(layer, tp):
    if layer["mixer"] == "mamba1":
        return Shapes.mamba1_state_shape(tp, layer["inner"], layer["columns"], layer["kernel"])
    if layer["mixer"] == "mamba2":
        return Shapes.mamba2_state_shape(
            tp, layer["inner"], layer["groups"], layer["heads"], layer["size"], layer["columns"], layer["kernel"]
        )
    if layer["mixer"] == "short-conv":
        return Shapes.short_conv_state_shape(tp, layer["inner"], layer["kernel"])
    if layer["mixer"] == "kimi-delta":
        return Shapes.kda_state_shape(tp, layer["heads"], layer["size"], conv_kernel_size=layer["kernel"])
    return Shapes.gated_delta_net_state_shape(
        tp, layer["groups"], layer["heads"], layer["columns"], layer["size"], layer["kernel"]
    )


def state(layer, tp, block, padded):
    shapes = tuple(state_shapes(layer, tp))
    dtypes = (torch.bfloat16, getattr(torch, layer["dtype"] or "bfloat16"))[: len(shapes)]
    return interface.MambaSpec(
        block_size=block, shapes=shapes, dtypes=dtypes, page_size_padded=padded, mamba_cache_mode="align",
        num_prefill_checkpoint_blocks=int(layer["mixer"] == "mamba2"),
    )  # fmt: skip


def keys(layer, tp, block, dtype):
    if layer["mixer"] in ("latent", "sparse-latent"):
        yield interface.MLAAttentionSpec(block_size=block, num_kv_heads=1, head_size=layer["width"], dtype=dtype)
        if layer["mixer"] == "sparse-latent":
            index = layer["index"] + layer["index"] // 128 * 4
            yield interface.MLAAttentionSpec(block_size=block, num_kv_heads=1, head_size=index, dtype=torch.uint8)
        return
    sizes = {"block_size": block, "num_kv_heads": max(layer["kv"] // tp, 1), "head_size": layer["size"], "dtype": dtype}
    if layer["mixer"] == "sliding":
        yield interface.SlidingWindowSpec(**sizes, sliding_window=layer["window"])
    elif layer["mixer"] == "chunked":
        yield interface.ChunkedLocalAttentionSpec(**sizes, attention_chunk_size=layer["window"])
    else:
        yield interface.FullAttentionSpec(**sizes)


def answer(case):
    layers = [layer for stage in case["stages"] for layer in stage]
    dtype = torch.uint8 if case["fp8"] else torch.bfloat16
    recurrent = [layer for layer in layers if layer["mixer"] in ("mamba1", "mamba2", "gated-delta", "short-conv",
                                                                  "kimi-delta")]  # fmt: skip
    attention = [layer for layer in layers if layer not in recurrent and layer["mixer"] != "none"]
    block = 64 if any(layer["mixer"] == "sparse-latent" for layer in layers) else LEAST
    padded = None
    if recurrent and attention:
        token = next(keys(attention[0], case["tp"], 1, dtype)).page_size_bytes
        page = state(recurrent[0], case["tp"], 1, None).page_size_bytes
        step = 128 if "latent" in attention[0]["mixer"] else LEAST
        block = step * -(-page // (step * token))
        padded = block * token
    elif recurrent:
        block = case["length"]
    specs, number = [], 0
    for stage in case["stages"]:
        held = {}
        for layer in stage:
            number += 1
            if layer in recurrent:
                held[f"{number}"] = state(layer, case["tp"], block, padded)
            elif layer["mixer"] != "none":
                for part, spec in enumerate(keys(layer, case["tp"], block, dtype)):
                    held[f"{number}.{part}"] = spec
        specs.append(held)
    options = config(case)
    try:
        made = planner.get_kv_cache_configs(options, specs, list(case["available"]))
    except ValueError as refused:
        told = re.search(r"estimated maximum model length is (\d+)", str(refused))
        return {"longest": int(told[1]) if told else 0}
    concurrency = planner.get_max_concurrency_for_kv_cache_config(options, made[0])
    return {
        "blocks": made[0].num_blocks,
        "tokens": planner.get_kv_cache_capacity(options, made[0])[0],
        "concurrency": concurrency,
    }


logging.disable(logging.CRITICAL)
json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
