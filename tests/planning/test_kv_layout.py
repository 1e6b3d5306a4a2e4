"""Blocks, tokens and concurrency of known models: by hand, and as vLLM logged them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lyc.planning.cache import kv_layout
from lyc.records.architecture import Architecture, Layer, Mixer, State
from lyc.records.model import ModelFacts
from lyc.records.serving import CacheSize, Draft, Serving
from tests.planning.kv_models import GIB, LATENT, MODELS, delta, every, facts, full, layout, sliding, stages

V19, V28, V33 = (0, 19, 0), (0, 28, 0), (0, 33, 0)
EAGLE = ModelFacts(("X",), architecture=Architecture("X", 4096, 128256, "bfloat16", (full(8, 128),)))


@pytest.mark.parametrize(
    ("name", "serving", "available", "tokens", "concurrency"),
    [
        ("llama-3.1-8b", Serving(V19), 58.11, 476000, 58.11),
        ("llama-3.1-8b", Serving(V19, dtype="float32"), 42.8, 175296, 21.4),
        ("llama-3.1-8b", Serving(V19, kv_cache_dtype="fp8"), 58.11, 952032, 116.21),
        ("llama-3.1-8b", Serving(V19, tp=4), 67.44, 2209792, 269.75),
        ("deepseek-v2-lite", Serving(V19), 43.61, 1505552, 183.78),
        ("gpt-oss-20b", Serving(V19), 58.47, 1277184, 155.75),
        ("gpt-oss-20b", Serving(V19, tp=2), 63.28, 2764768, 337.17),
        ("gpt-oss-20b", Serving(V19, tp=4), 66.57, 5817056, 709.4),
        ("glm-5", Serving(V19, tp=8, max_model_len=202752), 32.11, 344192, 1.7),
        ("qwen3.5-2b", Serving(V19, max_model_len=262144), 5.95, 129472, 1.97),
        ("qwen3.6-35b-a3b", Serving(V28, kv_cache_dtype="fp8", max_model_len=131072), 6.01, 569878, 4.35),
        ("qwen3.6-35b-a3b", Serving(V28, max_model_len=32768), 13.1, 560505, 17.11),
        ("qwen3.5-9b", Serving((0, 29, 0), max_model_len=65536), 6.75, 209615, 3.2),
    ],
)
def test_what_vllm_logged(name: str, serving: Serving, available: float, tokens: int, concurrency: float) -> None:
    """The log rounds the memory to 0.01 GiB: the logged tokens lie between those of both ends."""
    least, most = (
        kv_layout.size(layout(MODELS[name], serving), int((available + end) * GIB), serving) for end in (-0.005, 0.005)
    )
    assert least.tokens <= tokens <= most.tokens
    assert least.concurrency - 0.005 <= concurrency <= most.concurrency + 0.005


def test_start_refused_as_logged() -> None:
    """0.15 counts the layers of both stages against the memory of one: 24.0 GiB, of which 3.18 were there."""
    serving = Serving((0, 15, 2), pp=2, max_model_len=262144)
    found = layout(facts([full(4, 128)] * 48), serving)
    assert found.request_bytes == 24 * GIB
    assert 34680 <= kv_layout.longest(found, int(3.18 * GIB), serving) <= 34736 + 64


@pytest.mark.parametrize(
    ("name", "version", "groups", "block_tokens", "block_bytes"),
    [
        ("llama-3.1-8b", V19, 1, 16, 2 * 8 * 128 * 2 * 32 * 16),
        ("multi-query", V19, 1, 16, 2 * 128 * 2 * 40 * 16),
        ("deepseek-v2-lite", V19, 1, 16, 576 * 2 * 27 * 16),
        ("deepseek-v2-lite", (0, 10, 2), 1, 64, 576 * 2 * 27 * 64),
        ("deepseek-v2-lite", (0, 7, 3), 1, 16, 1280 * 27 * 16),
        ("deepseek-v2-lite", (0, 6, 6), 1, 16, 2 * 16 * 256 * 2 * 27 * 16),
        ("glm-5", V19, 1, 64, (1152 + 132) * 78 * 64),
        ("gemma-2-9b", V19, 2, 16, 2 * 8 * 256 * 2 * 21 * 16),
        ("gemma-2-9b", (0, 8, 5), 1, 16, 2 * 8 * 256 * 2 * 42 * 16),
        ("gemma-3-4b", V19, 7, 16, 2 * 4 * 256 * 2 * 5 * 16),
        ("llama-4-scout", V19, 4, 16, 2 * 8 * 128 * 2 * 12 * 16),
        ("llama-4-scout", (0, 12, 0), 1, 16, 2 * 8 * 128 * 2 * 48 * 16),
        ("mistral-7b-v0.1", V19, 1, 16, 2 * 8 * 128 * 2 * 32 * 16),
        ("qwen3-next-80b", V19, 4, 544, 12 * 544 * 2 * 2 * 256 * 2),
        ("granite-4-small", V19, 10, 528, 4 * 528 * 2 * 8 * 128 * 2),
        ("nemotron-3-nano", V19, 5, 2096, 6 * 2096 * 2 * 2 * 128 * 2),
        ("lfm2-1.2b", V19, 3, 16, 6 * 16 * 2 * 8 * 64 * 2),
        ("jamba-mini", V19, 8, 80, 4 * 80 * 2 * 8 * 128 * 2),
        ("jamba-mini", (0, 9, 2), 1, 16, 4 * 16 * 2 * 8 * 128 * 2),
        ("mamba-2.7b", V19, 1, 8192, 64 * (3 * 5120 + 5120 * 16) * 2),
        ("kimi-linear-48b", V19, 5, 1920, 6 * 1920 * 576 * 2),
        ("falcon-h1-7b", V19, 2, 1568, 44 * 1568 * 2 * 2 * 128 * 2),
    ],
)
def test_layout(name: str, version: tuple[int, ...], groups: int, block_tokens: int, block_bytes: int) -> None:
    found = layout(MODELS[name], Serving(version))
    assert (found.groups, found.block_tokens, found.block_bytes) == (groups, block_tokens, block_bytes)
    assert found.band == 0.0
    assert f"{found.block_bytes} B" in found.formula
    assert found.source.startswith("vllm/")


@pytest.mark.parametrize(
    ("version", "tokens", "blocks"),
    [((0, 8, 5), 1280, 80), ((0, 20, 0), 1280, 160), ((0, 21, 0), 1280, 160)],
)
def test_meaning_of_the_logged_size(version: tuple[int, ...], tokens: int, blocks: int) -> None:
    """Gemma-2's half of sliding layers: one table, then blocks // groups × block, then concurrency × length."""
    serving = Serving(version, max_model_len=256)
    found = layout(MODELS["gemma-2-9b"], serving)
    size = kv_layout.size(found, 2 * 8 * 256 * 2 * 42 * 16 * 80, serving)
    assert size.blocks == blocks
    exact = int(blocks / (16 + 17) * 256) if version >= (0, 21) else tokens
    assert size.tokens == exact


@pytest.mark.parametrize(
    ("version", "length", "blocks"),
    [
        (V19, 100_000, 6250 + 513 + (4096 - 1) // 16 + 1),
        (V19, 2048, 128 + 129),
        ((0, 27, 0), 100_000, 6250 + 2 * 512 + (4096 - 1) // 16 + 2),
    ],
)
def test_a_window_holds_no_more_than_itself_and_what_is_under_way(
    version: tuple[int, ...], length: int, blocks: int
) -> None:
    serving = Serving(version, max_model_len=length, max_num_batched_tokens=8192)
    assert layout(MODELS["gemma-2-9b"], serving).request_blocks == blocks


def test_chunks_hold_no_more_than_a_chunk_and_what_is_under_way() -> None:
    serving = Serving(V19, max_model_len=1_000_000, max_num_batched_tokens=4096)
    assert layout(MODELS["llama-4-scout"], serving).request_blocks == 62500 + 3 * (8192 + 4096) // 16


def test_start_check_of_each_version() -> None:
    """Layers, then the first group as often as all (here a window), then all groups, then with the idle block."""
    model = MODELS["gpt-oss-20b"]
    page = 2 * 8 * 64 * 2 * 16
    wanted = {
        (0, 13, 0): 12 * page * 6250 + 12 * page * 521,
        (0, 14, 0): 12 * page * 521,
        (0, 19, 0): 12 * page * (6250 + 521),
        (0, 29, 0): 12 * page * (6250 + 1033 + 1),
    }
    for version, size in wanted.items():
        serving = Serving(version, max_model_len=100_000, max_num_batched_tokens=8192)
        assert layout(model, serving).request_bytes == size, version


@pytest.mark.parametrize(
    ("detail", "version", "asked", "per_token"),
    [
        ({}, V19, "auto", 4096),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, V19, "auto", 2048),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, (0, 13, 0), "auto", 4096),
        ({"quant_method": "modelopt", "quantization": {"kv_cache_quant_algo": "FP8"}}, V19, "auto", 2048),
        ({"quant_method": "modelopt", "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}, V19,
         "auto", 2048),
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "NONSENSE"}, V19, "auto", 4096),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, V19, "auto", 2048),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, V19, "bfloat16", 2048),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, (0, 22, 0), "bfloat16", 4096),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}, (0, 14, 0), "auto", 4096),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, V19, "auto", 4096),
        ({}, V19, "fp8_e5m2", 2048),
        ({}, V33, "nvfp4", 2 * 8 * (64 + 8)),
        ({}, V33, "int8_per_token_head", 2 * 8 * (128 + 4)),
    ],
)  # fmt: skip
def test_type_of_the_cache(detail: dict[str, object], version: tuple[int, ...], asked: str, per_token: int) -> None:
    found = layout(facts([full(8, 128)], detail=detail), Serving(version, kv_cache_dtype=asked))
    assert found.block_bytes == per_token * 16


def test_sparse_attention_packs_fp8_where_the_kernel_does() -> None:
    bare, index = 576 * 64 * 78, 132 * 64 * 78

    def size(version: tuple[int, ...], asked: str, capability: int | None) -> int:
        return layout(MODELS["glm-5"], Serving(version, kv_cache_dtype=asked, capability=capability)).block_bytes

    assert size((0, 11, 0), "auto", 90) == size(V19, "fp8", 90) == 656 * 64 * 78 + index
    assert size(V19, "auto", 90) == 2 * bare + index
    assert size(V19, "fp8", 100) == bare + index
    assert layout(MODELS["glm-5"], Serving(V19, kv_cache_dtype="fp8")).band > 0


@pytest.mark.parametrize(
    ("capability", "version", "tokens"),
    [(90, V19, 16), (100, V19, 32), (100, (0, 17, 0), 64), (100, (0, 12, 0), 128), (90, (0, 16, 0), 64), (80, V19, 16),
     (80, (0, 12, 0), 16), (None, (0, 7, 3), 16)],
)  # fmt: skip
def test_block_of_latent_attention_by_card(capability: int | None, version: tuple[int, ...], tokens: int) -> None:
    serving = Serving(version, capability=capability)
    assert layout(MODELS["deepseek-v2-lite"], serving).block_tokens == tokens


def test_the_cpu_build_has_larger_blocks() -> None:
    assert layout(MODELS["llama-3.1-8b"], Serving((0, 32, 0), on_cpu=True)).block_tokens == 128
    assert layout(MODELS["deepseek-v2-lite"], Serving((0, 32, 0), on_cpu=True)).block_tokens == 16


def test_a_block_that_was_asked_for_is_kept_unless_a_state_needs_more() -> None:
    serving = Serving(V19, block_size=64)
    assert layout(MODELS["llama-3.1-8b"], serving).block_tokens == 64
    assert layout(MODELS["qwen3-next-80b"], serving).block_tokens == 544


def test_kv_heads_are_repeated_where_there_are_fewer_than_gpus() -> None:
    sizes = [layout(MODELS["qwen3.6-35b-a3b"], Serving(V19, tp=tp)).block_tokens for tp in (1, 2, 4, 8)]
    assert sizes == [1056, 1056, 528, 272]
    assert layout(facts([full(2, 128)] * 4), Serving(V19, tp=8)).block_bytes == 2 * 128 * 2 * 4 * 16


def test_latent_attention_is_on_every_gpu() -> None:
    assert len({layout(MODELS["deepseek-v2-lite"], Serving(V19, tp=tp)).block_bytes for tp in (1, 2, 4, 8)}) == 1


def test_layers_that_read_an_earlier_cache_keep_none() -> None:
    shared = replace(full(2, 256), shares_kv=True)
    assert layout(facts([full(2, 256)] * 20 + [shared] * 10), Serving(V19)) == layout(
        facts([full(2, 256)] * 20), Serving(V19)
    )


@pytest.mark.parametrize(
    ("method", "model", "layers"),
    [("ngram", None, 32), ("suffix", None, 32), ("mtp", None, 33), ("eagle3", EAGLE, 33), ("draft_model", EAGLE, 33)],
)
def test_drafts_keep_a_cache_of_their_own(method: str, model: ModelFacts | None, layers: int) -> None:
    target = facts([full(8, 128)] * 32, mtp=(full(8, 128),))
    found = layout(target, Serving(V19, draft=Draft(method, 3, model)))
    assert found.block_bytes == 4096 * 16 * layers


def test_drafts_stand_on_the_last_stage() -> None:
    target = facts([full(8, 128)] * 32, mtp=(full(8, 128),))
    serving = Serving(V19, pp=2, draft=Draft("mtp", 1))
    assert [layout(target, serving, stage).block_bytes for stage in (0, 1)] == [4096 * 16 * 16, 4096 * 16 * 17]


def test_speculated_tokens_have_states_of_their_own() -> None:
    plain = facts(every(40, 4, full(2, 256, 16), delta(32)), "Qwen3_5MoeForConditionalGeneration", mtp=(full(2, 256),))
    serving = Serving(V19, max_model_len=32768, draft=Draft("mtp", 2))
    found = layout(plain, serving)
    assert found.groups == 1 + 3  # 11 full layers: 30 states in groups of 11
    assert found.request_blocks == -(-32768 // found.block_tokens) + 3 * (1 + 2)
    assert layout(plain, replace(serving, version=V28)).request_blocks == found.request_blocks + 3


@pytest.mark.parametrize(
    ("capability", "version", "states", "tokens"),
    [(90, V33, 3, 1088), (90, (0, 32, 0), 2, 1056), (80, V33, 2, 1056), (120, V33, 3, 1088)],
)
def test_prefill_leaves_one_more_state_behind(
    capability: int, version: tuple[int, ...], states: int, tokens: int
) -> None:
    serving = Serving(version, max_model_len=32768, capability=capability)
    found = layout(MODELS["qwen3.6-35b-a3b"], serving)
    assert (found.block_tokens, found.request_blocks) == (tokens, -(-32768 // tokens) + 3 * states)


@pytest.mark.parametrize(("version", "states"), [((0, 27, 0), 1), ((0, 31, 0), 2), ((0, 32, 0), 3)])
def test_states_of_mamba_where_prefixes_are_cached(version: tuple[int, ...], states: int) -> None:
    found = layout(MODELS["granite-4-small"], Serving(version, max_model_len=8192))
    assert found.request_blocks == -(-8192 // 528) + 9 * states


def _small(*layers: Layer) -> ModelFacts:
    return facts(layers, "GraniteMoeHybridForCausalLM")


_MAMBA = Layer(Mixer.MAMBA2, state=State(16, 32, 64, 1, 4))
_DELTA = Layer(Mixer.GATED_DELTA, state=State(8, 64, 64, 4, 4))
_MAMBA1 = Layer(Mixer.MAMBA1, state=State(1, 512, 16, 1, 4))
_GROUPED = Layer(Mixer.MAMBA2, state=State(16, 32, 64, 2, 4))
_CONV = Layer(Mixer.SHORT_CONV, state=State(1, 256, 0, 1, 3))
_MLP = Layer(Mixer.NONE)


@pytest.mark.parametrize(
    ("model", "blocks", "tokens"),
    [
        (_small(_MAMBA, _MAMBA, full(2, 64, 4), _MAMBA, _MAMBA, full(2, 64, 4)), 2730, 657769),
        (_small(_DELTA, _DELTA, _DELTA, full(2, 64, 4)), 5461, 1315779),
        (_small(*[*[sliding(2, 64, 256, 4)] * 3, full(2, 64, 4)] * 2), 8192, 516222),
        (facts([LATENT] * 3), 19418, 310688),
        (_small(_MAMBA1, _MAMBA1, full(2, 64, 4), *[_MAMBA1] * 3, full(2, 64, 4), _MAMBA1), 8192, 883011),
        (_small(*[_GROUPED, _MLP] * 3, full(2, 64, 4), _GROUPED), 5461, 972532),
        (facts([_MAMBA1] * 4, "MambaForCausalLM"), 7489, 30674944),
        (facts([sliding(2, 64, 512, 4)] * 4), 4096, 1290555),
        (_small(*[_CONV, _CONV, full(2, 64, 4)] * 2), 8192, 932067),
    ],
    ids=["mamba-2", "delta", "windows", "latent", "mamba-1", "nemotron", "no-attention", "all-windows", "conv"],
)
def test_what_the_cpu_engine_reported(model: ModelFacts, blocks: int, tokens: int) -> None:
    """Real starts of 0.32.0 with random weights, 1 GiB for the cache, 4096 tokens of context, 1024 in a batch."""
    serving = Serving((0, 32, 0), max_model_len=4096, max_num_batched_tokens=1024, on_cpu=True)
    size = kv_layout.size(layout(model, serving), GIB, serving)
    assert (size.blocks, size.tokens) == (blocks, tokens)


def test_what_the_cpu_engine_reported_of_a_draft() -> None:
    model = facts([_DELTA, _DELTA, _DELTA, full(2, 64, 4)], "Qwen3NextForCausalLM", mtp=(full(2, 64, 4),))
    serving = Serving((0, 32, 0), max_model_len=4096, on_cpu=True, draft=Draft("mtp", 2))
    assert kv_layout.size(layout(model, serving), GIB, serving) == CacheSize(2730, 588530, 2730 / 19)


def test_uneven_pages_of_one_kind_share_a_group() -> None:
    found = layout(facts([full(8, 128)] * 4 + [full(8, 64)] * 2), Serving(V19))
    assert (found.groups, found.block_bytes) == (1, 16 * (4 * 4096 + 2 * 2048))


def test_uneven_pages_of_two_kinds_are_made_even() -> None:
    """Gemma 4: heads of 512 where all is seen, of 256 in windows; a block of these holds twice the tokens."""
    found = layout(facts(every(12, 6, full(4, 512), sliding(4, 256, 1024))), Serving(V19, max_model_len=256))
    page = 2 * 4 * 512 * 2 * 16
    assert (found.groups, found.block_bytes, found.block_tokens) == (6, 2 * page, 16)
    assert found.request_blocks == 16 + 5 * (8 + 1)


def test_stages_of_a_hybrid_share_the_groups_of_the_whole_model() -> None:
    serving = Serving(V19, pp=2)
    model = facts([full(8, 128), *[sliding(8, 128, 512)] * 3] * 5)
    sizes = [layout(model, serving, stage) for stage in (0, 1)]
    assert [size.groups for size in sizes] == [4, 4]
    assert [size.block_bytes for size in sizes] == [3 * 4096 * 16, 3 * 4096 * 16]


def test_nothing_to_keep() -> None:
    serving = Serving(V19)
    empty = layout(facts([Layer(Mixer.NONE)] * 4), serving)
    assert (empty.groups, empty.request_bytes) == (0, 0)
    assert kv_layout.size(empty, GIB, serving).blocks == 1
    assert kv_layout.layout(ModelFacts(("X",)), serving, stages(MODELS["llama-3.1-8b"], serving)[0]).band == 1.0


def test_no_memory_gives_no_block() -> None:
    serving = Serving(V19)
    found = layout(MODELS["llama-3.1-8b"], serving)
    assert kv_layout.size(found, 0, serving).tokens == kv_layout.size(found, -GIB, serving).tokens == 0
    assert kv_layout.longest(found, 0, serving) == 0


def test_a_model_that_is_not_known_has_a_band() -> None:
    assert layout(facts([full(8, 128)], known=False), Serving(V19)).band > 0
    assert layout(facts([replace(full(8, 128), mixer=Mixer.UNKNOWN)]), Serving(V19)).band >= 0.5
    assert layout(facts([full(8, 128)]), Serving(V19, kv_cache_dtype="turboquant_4bit_nc")).band >= 0.5


@pytest.mark.parametrize(
    ("name", "version", "dtype", "size"),
    [("NemotronHForCausalLM", V19, None, 2), ("NemotronHForCausalLM", (0, 20, 0), None, 4),
     ("NemotronHForCausalLM", V19, "float32", 4), ("NemotronHForCausalLM", (0, 12, 0), "float32", 2),
     ("BambaForCausalLM", V19, "float32", 2)],
)  # fmt: skip
def test_type_of_a_state(name: str, version: tuple[int, ...], dtype: str | None, size: int) -> None:
    model = facts([Layer(Mixer.MAMBA2, state=State(64, 64, 128, 8, 4, dtype))] * 2, name)
    assert layout(model, Serving(version)).block_bytes == 2 * (3 * (4096 + 2 * 8 * 128) * 2 + 64 * 64 * 128 * size)
