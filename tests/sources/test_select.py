"""Which files of real repositories are kept."""

from __future__ import annotations

import pytest

from lyc.sources.select import select

LLAMA = [
    ".gitattributes", "LICENSE", "README.md", "USE_POLICY.md", "config.json", "generation_config.json",
    "model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors", "model.safetensors.index.json",
    "original/consolidated.00.pth", "original/params.json", "original/tokenizer.model", "special_tokens_map.json",
    "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip
MISTRAL = [
    "config.json", "consolidated.safetensors", "consolidated.safetensors.index.json", "params.json", "tekken.json",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
]  # fmt: skip
TRAINING = [
    "config.json", "model.safetensors", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state_0.pth",
    "trainer_state.json", "training_args.bin", "global_step40/mp_rank_00_model_states.pt", "runs/x/events.out",
]  # fmt: skip
EMBEDDING = [
    "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "config.json", "modules.json",
    "config_sentence_transformers.json", "sentence_bert_config.json", "model.safetensors", "onnx/model.onnx",
    "openvino/openvino_model.bin", "vocab.txt", "tokenizer.json",
]  # fmt: skip


ONLY_PICKLES = ["a.pt", "b.PTH", "c.pkl", "model.ckpt"]
NOTHING_ELSE = {".gitattributes", "LICENSE", "README.md", "USE_POLICY.md"}


@pytest.mark.parametrize(
    ("paths", "left_out", "refused"),
    [
        (LLAMA, NOTHING_ELSE | {path for path in LLAMA if path.startswith("original/")}, []),
        (MISTRAL, {"consolidated.safetensors", "consolidated.safetensors.index.json", "params.json"}, []),
        (TRAINING, set(TRAINING) - {"config.json", "model.safetensors"}, []),
        (EMBEDDING, {"2_Dense/pytorch_model.bin", "onnx/model.onnx", "openvino/openvino_model.bin"}, []),
        (["config.json", "pytorch_model.bin"], {"pytorch_model.bin"}, ["pytorch_model.bin"]),
        (["model.safetensors", "model.fp16.safetensors"], {"model.fp16.safetensors"}, []),
        (["consolidated.safetensors", "params.json", "tekken.json"], set(), []),
        (["configuration_own.py", "modeling_own.py", "config.json"], {"configuration_own.py", "modeling_own.py"}, []),
        (["x.Q4_K_M.gguf"], {"x.Q4_K_M.gguf"}, ["x.Q4_K_M.gguf"]),
        (ONLY_PICKLES, set(ONLY_PICKLES), ONLY_PICKLES),
        (["chat_template.jinja", "merges.txt", "vocab.json", "spiece.model", "preprocessor_config.json"], set(), []),
        (["adapter_config.json", "adapter_model.safetensors"], set(), []),
        (["quantize_config.json", "hf_quant_config.json", "qwen.tiktoken", "added_tokens.json"], set(), []),
    ],
)
def test_known_layouts(paths: list[str], left_out: set[str], refused: list[str]) -> None:
    choice = select(paths)
    assert set(paths) - set(choice.keep) == left_out
    assert sorted(choice.refused) == sorted(refused)


@pytest.mark.parametrize(
    "path",
    ["../config.json", "/config.json", "a/../config.json", "1_Pooling/../config.json", "x\\config.json",
     "./config.json", "config.json/", "", "vocab\n", "vocab" + "x" * 300, ".config.json"],
)  # fmt: skip
def test_a_path_that_could_leave_its_folder_is_never_kept(path: str) -> None:
    assert select([path]).keep == ()
