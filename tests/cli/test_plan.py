"""`lyc plan` as a user meets it: the real command on folders that hold a config.json and an index, and on samples."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Controller, Home, deployment

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_BYTES = 16_060_522_496
REPLAY = [
    "--gpu", "h100", "--tp", "1", "--vllm-version", "0.19.0", "--util", "0.95", "--max-num-seqs", "1024",
    "--max-num-batched-tokens", "8192", "--max-model-len", "8192", "--kv-cache-dtype", "auto",
]  # fmt: skip
SCHEMA = json.loads(
    re.findall(r"^```json\n(.*?)^```$", (Path(__file__).parents[2] / "docs/plan.md").read_text(), re.M | re.S)[0]
)


def model(home: Home, name: str = "llama", index: bool = True, **changes: Any) -> str:
    """A folder with config.json and, if wanted, an index that names the total size alone."""
    folder = home.path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    if index:
        total = {"metadata": {"total_size": LLAMA_BYTES}, "weight_map": {}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(total))
    return str(folder)


def planned(home: Home, *words: str, code: int = 0) -> dict[str, Any]:
    """The document, checked against the schema of the docs."""
    got, out, err = home.run("plan", *words, "--json")
    assert (got, err) == (code, ""), out + err
    document = json.loads(out)
    assert faults(document, SCHEMA) == []
    return dict(document)


def faults(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """What is wrong with a value by a JSON schema, of the words that docs/plan.md uses."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return faults(value, SCHEMA["$defs"][name], f"{place}<{name}>")
    if "oneOf" in schema:
        return min((faults(value, one, place) for one in schema["oneOf"]), key=len)
    found = []
    kinds = schema.get("type", [])
    names = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    kinds = [kinds] if isinstance(kinds, str) else kinds
    boolean = isinstance(value, bool)
    if kinds and not any(isinstance(value, names[kind]) and (kind == "boolean" or not boolean) for kind in kinds):  # type: ignore[arg-type]
        return [f"{place} is {value!r}, not {kinds}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{place} is not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place} is {value!r}")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{place}.{key} is missing" for key in schema.get("required", []) if key not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{place}.{key} is not documented" for key in value if key not in properties]
        for key, inner in value.items():
            found += faults(inner, properties.get(key, {}), f"{place}.{key}")
    if isinstance(value, list) and "items" in schema:
        for at, inner in enumerate(value):
            found += faults(inner, schema["items"], f"{place}[{at}]")
    return found


def test_the_schema_of_the_docs_finds_faults() -> None:
    assert faults({"version": 2}, SCHEMA) != []
    assert faults({"ref": 1}, SCHEMA["$defs"]["model"])[0] == "$.revision is missing"


def test_a_logged_start_is_replayed(home: Home) -> None:
    """vLLM 0.19.0 logged 14.99 GiB and 476,016 tokens with these options (start 25 of tests/planning/measured)."""
    document = planned(home, model(home), *REPLAY)
    assert document["rejected"] == []
    (fit,) = document["fits"]
    assert document["chosen"] == fit
    assert (fit["gpu"], fit["count"], fit["tp"], fit["pp"], fit["quantization"]) == ("h100", 1, 1, 1, None)
    assert fit["memory"]["weights_gib"] == pytest.approx(14.99, rel=0.005)
    assert fit["kv_cache_tokens"] == pytest.approx(476_016, rel=0.002)
    assert sum(term["gib"] for term in fit["terms"] if term["inside"]) == pytest.approx(
        0.95 * fit["memory"]["cuda_total_gib"], abs=1e-6
    )
    for part in ("weights", "non_torch", "activation", "cuda_graph", "kv_cache"):
        terms = [term["gib"] for term in fit["terms"] if term["part"] == part]
        assert sum(terms) == pytest.approx(fit["memory"][f"{part}_gib"], abs=1e-9)
        assert terms
    assert fit["max_concurrency"] == pytest.approx(fit["kv_cache_tokens"] / 8192, rel=0.01)
    assert fit["serving"]["max_num_seqs"] == 1024
    assert all(term["formula"] and term["source"] for term in fit["terms"])


def test_every_card_is_looked_at_and_the_cheapest_is_first(home: Home) -> None:
    document = planned(home, model(home))
    rates = [fit["price_per_hour"] for fit in document["fits"]]
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known)
    assert rates == known + [None] * (len(rates) - len(known))
    assert len({fit["gpu"] for fit in [*document["fits"], *document["rejected"]]}) > 20
    assert document["chosen"] in document["fits"]
    assert document["nearest"] is None


def test_config_alone_is_enough(home: Home) -> None:
    document = planned(home, model(home, index=False), "--gpu", "h100")
    assert document["model"]["tensors_from"] == "config"
    assert document["model"]["weights_gib"] == pytest.approx(LLAMA_BYTES / 2**30, rel=0.001)


def test_the_answer_for_a_person(home: Home) -> None:
    code, out, err = home.run("plan", model(home), "--gpu", "h100,t4", "--max-model-len", "8k")
    assert code == 0
    assert "LlamaForCausalLM, 8.03 B parameters, 14.96 GiB of weights, bfloat16, context 128k\n" in out
    assert re.search(r"^→  h100 +as is +8k +[\d,]+ +[\d.]+ ", out, re.M)
    assert re.search(r"^memory of h100: 79\.\d\d GiB\n  █+▞+▓+▒+░+·+\n", out, re.M)
    assert re.search(r"^does not fit\n  t4 .*GiB", out, re.M)
    assert err == f"hint: lyc deploy {home.path}/llama --gpu h100 --max-model-len 8192\n"


def test_verbose_shows_every_term_with_its_formula_and_source(home: Home) -> None:
    folder = model(home)
    terms = planned(home, folder, *REPLAY)["chosen"]["terms"]
    out = home.run("plan", folder, *REPLAY, "-v")[1]
    flat = re.sub(r"\s+", " ", out)
    for term in terms:
        assert re.sub(r"\s+", " ", f"= {term['formula']} ← {term['source']}") in flat
    assert re.search(r"--max-num-seqs +1024 +asked", out)
    assert re.search(r"--block-size +auto +default", out)
    assert re.search(r"AT ONCE +TOKENS/S +EACH", out)


def test_many_candidates_are_cut_and_all_shows_them(home: Home) -> None:
    folder = model(home)
    short, long = home.run("plan", folder)[1], home.run("plan", folder, "--all")[1]
    assert "more that fit: --all" in short
    assert "--all" not in long
    document = planned(home, folder)
    shown = long.partition("memory of")[0].count("\n")
    assert shown >= len(document["fits"])


def test_nothing_fits_is_exit_5_with_what_would(home: Home) -> None:
    words = (model(home), "--gpu", "t4", "--tp", "1")
    code, out, err = home.run("plan", *words)
    assert code == 5
    assert "does not fit\n  t4" in out
    assert err.startswith("error[nothing-fits]: nothing fits as asked\n  why: t4: ")
    assert re.search(r"\nhint: lyc plan \S+ --gpu \S+", err)
    document = planned(home, *words, code=5)
    assert (document["fits"], document["chosen"]) == ([], None)
    assert document["nearest"]["fits"] is True
    (refused,) = document["rejected"]
    assert (refused["fits"], refused["reason_refs"]) == (False, ["no-room"])
    hinted = re.search(r"hint: lyc (plan .*)", err)
    assert hinted is not None
    assert home.run(*hinted[1].split())[0] == 0, "what is hinted at works"


def test_an_impossible_split_is_a_reason(home: Home) -> None:
    document = planned(home, model(home), "--gpu", "h100", "--tp", "3", code=5)
    (refused,) = document["rejected"]
    assert (refused["tp"], refused["count"], refused["reason_refs"]) == (3, 3, ["impossible-split"])
    assert "32" in refused["reasons"][0]
    assert refused["memory"]["weights_gib"] is None


def test_a_load_that_does_not_fit_is_a_reason(home: Home) -> None:
    words = (model(home), "--gpu", "h100:1", "--concurrency", "500", "--context", "8k")
    document = planned(home, *words, code=5)
    assert document["rejected"][0]["reason_refs"] == ["too-few-at-once"]
    fit = planned(home, *words[:3], "--concurrency", "20", "--context", "8k")["chosen"]
    assert (fit["speed"]["concurrency"], fit["speed"]["context"]) == (20, 8192)


def test_prices_are_the_users_own(home: Home) -> None:
    words = (model(home), "--gpu", "h100", "--price", "h100=2.79EUR/h", "--per-token-price", "0.60EUR")
    fit = planned(home, *words, "--active-hours", "40")["chosen"]
    assert (fit["price_per_hour"], fit["currency"]) == (2.79, "EUR")
    per_million = Decimal("2.79") / Decimal(fit["tokens_per_second"]) / 3600 * 10**6
    assert fit["price_per_million_tokens"] == pytest.approx(float(per_million), abs=1e-5)
    assert fit["cost"]["per_month"] == 2036.7
    assert fit["cost"]["per_month_active"] == pytest.approx(2036.7 * 40 / 168, abs=1e-3)
    assert planned(home, *words[:3], "--count", "2", "--price", "h100=2.79EUR/h")["chosen"]["price_per_hour"] == 5.58


def test_prices_are_those_of_the_residency(home: Home) -> None:
    words = (model(home), "--gpu", "h100,a100-40")
    document = planned(home, *words, "--residency", "eu")
    assert next(fit["gpu"] for fit in document["fits"]) == "h100"
    assert document["chosen"]["price"]["country"]
    refusals = {fit["gpu"]: fit["reason_refs"] for fit in document["rejected"]}
    assert refusals == {"a100-40": ["no-offer-there"]}
    assert planned(home, *words, "--residency", "eu", "--price", "a100-40=1EUR/h@FI")["chosen"]["gpu"] == "a100-40"
    nowhere = planned(home, *words, "--residency", "mt", code=5)
    assert (nowhere["fits"], len(nowhere["rejected"]), nowhere["nearest"]) == ([], 2, None)


def test_a_currency_is_the_one_that_is_named(home: Home) -> None:
    words = (model(home), "--gpu", "h100")
    assert planned(home, *words)["chosen"]["currency"] == "EUR"
    assert planned(home, *words, "--price", "h100=3USD/h")["chosen"]["currency"] == "USD"
    euro = planned(home, *words, "--price", "h100=3USD/h", "--per-token-price", "0.5EUR")["chosen"]
    assert euro["currency"] == "EUR"
    assert 0 < euro["price_per_hour"] < 3
    assert "3 USD" in euro["price"]["source"]


def test_a_wish_in_a_file(home: Home) -> None:
    model(home)
    (home.path / "lyc.toml").write_text(
        'model = "./llama"\ngpu = "h100"\nmax_model_len = "4k"\n[engine_args]\nmax-num-seqs = 64\nseed = 7\n'
    )
    document = planned(home, "-f", "lyc.toml", "--util", "0.8")
    serving = document["chosen"]["serving"]
    assert (serving["max_model_len"], serving["max_num_seqs"], serving["gpu_memory_utilization"]) == (4096, 64, 0.8)
    assert document["notes"] == ["the plan takes no notice of seed"]
    assert home.run("plan", "-f", "lyc.toml")[2] == "hint: lyc deploy -f lyc.toml --gpu h100 --max-model-len 4096\n"


def test_an_unknown_family_is_planned_with_a_wide_band_and_says_so(home: Home) -> None:
    sure = planned(home, model(home), "--gpu", "h100")["chosen"]
    odd = planned(home, model(home, "odd", architectures=["OddForCausalLM"], model_type="odd"), "--gpu", "h100")
    assert odd["model"]["known"] is False
    assert any("OddForCausalLM" in note for note in odd["notes"])
    assert odd["chosen"]["band_gib"] > sure["band_gib"] + 0.5


def lora(base: str | None) -> str:
    """An adapter_config.json."""
    said = {} if base is None else {"base_model_name_or_path": base}
    return json.dumps({**said, "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]})


@pytest.mark.parametrize(
    ("words", "code", "ref"),
    [
        ("", 2, "no-model"),
        ("--check", 2, "no-name"),
        ("./nowhere", 3, "no-such-folder"),
        ("./empty", 3, "no-config"),
        ("./broken", 3, "invalid-json"),
        ("./shapeless", 3, "no-layers"),
        ("x://y", 3, "invalid-model"),
        ("-f nowhere.toml", 3, "no-spec-file"),
        ("./llama --gpu h10000", 2, "unknown-gpu"),
        ("./llama --gpu h100:0", 2, "invalid-gpu"),
        ("./llama --count 2 --tp 4", 2, "contradictory-wish"),
        ("./llama --context 16k --max-model-len 8k", 2, "contradictory-wish"),
        ("./llama --max-model-len 256k", 3, "max-model-len-too-large"),
        ("./llama --context 256k", 3, "max-model-len-too-large"),
        ("./llama --util 92", 2, "invalid-value"),
        ("./llama --vllm-version new", 2, "invalid-version"),
        ("./llama --quantization fp88", 2, "invalid-value"),
        ("./llama --kv-cache-dtype fp88", 2, "invalid-value"),
        ("./llama --max-model-len long", 2, "invalid-value"),
        ("./llama --price h100", 2, "invalid-price"),
        ("./llama --price h100=cheap", 2, "invalid-price"),
        ("./llama --prices nowhere.toml", 2, "unreadable-price-file"),
        ("./llama --per-token-price cheap", 2, "invalid-token-price"),
        ("./llama --active-hours 200", 2, "invalid-active-hours"),
        ("./llama --residency moon", 2, "unknown-residency"),
        ("./llama --adapter ./empty", 3, "not-an-adapter"),
        ("./adapter --adapter ./adapter", 3, "two-adapters"),
        ("./baseless", 3, "no-base"),
        ("./stale", 3, "no-such-folder"),
        ("./llama --speculative magic", 3, "invalid-value"),
        ("./llama --speculative mtp", 3, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_error(home: Home, words: str, code: int, ref: str | None) -> None:
    model(home)
    for name, files in {
        "empty": {},
        "broken": {"config.json": "{"},
        "shapeless": {"config.json": "{}"},
        "adapter": {"adapter_config.json": lora("./llama")},
        "baseless": {"adapter_config.json": lora(None)},
        "stale": {"adapter_config.json": lora("/on/another/machine")},
    }.items():  # fmt: skip
        (home.path / name).mkdir()
        for file, text in files.items():
            (home.path / name / file).write_text(text)
    got, out, err = home.run("plan", *words.split())
    assert (got, out) == (code, ""), out + err
    assert err.count("error[") == 1
    assert ref is None or err.startswith(f"error[{ref}]: ")
    assert "hint: " in err or "why: " in err
    got, out, err = home.run("plan", *words.split(), "--json")
    document = json.loads(out)
    assert (got, document["error"]["exit_code"], err) == (code, code, "")


def test_an_unknown_gpu_is_told_the_nearest(home: Home) -> None:
    assert "did you mean h100" in home.run("plan", model(home), "--gpu", "h1000")[2]


def safetensors(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """A file of zeros with the header that it needs."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def adapter(home: Home, base: str) -> str:
    folder = home.path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(lora(base))
    names = {
        f"base_model.model.model.layers.{layer}.self_attn.{module}" for layer in range(32) for module in ("q_proj",)
    }
    tensors = {f"{name}.lora_{side}.weight": (16, 4096) for name in sorted(names) for side in "AB"}
    safetensors(folder / "adapter_model.safetensors", tensors)
    return str(folder)


def test_an_adapter_is_planned_on_its_base(home: Home) -> None:
    base = model(home)
    lora = adapter(home, base)
    plain = planned(home, base, "--gpu", "h100")
    alone = planned(home, lora, "--gpu", "h100")
    assert alone["model"]["ref"] == plain["model"]["ref"]
    assert (alone["model"]["adapter"]["rank"], alone["model"]["adapter"]["targets"]) == (16, ["q_proj", "v_proj"])
    more = alone["chosen"]["memory"]["weights_gib"] - plain["chosen"]["memory"]["weights_gib"]
    assert 0 < more < 1
    assert planned(home, base, "--adapter", lora, "--gpu", "h100")["chosen"] == alone["chosen"]
    four = planned(home, lora, "--gpu", "h100", "--max-loras", "4")["chosen"]
    assert four["memory"]["weights_gib"] - plain["chosen"]["memory"]["weights_gib"] > more * 2
    assert "with the adapter" in home.run("plan", lora, "--gpu", "h100")[1]


def test_speculative_decoding_costs_memory(home: Home) -> None:
    base = model(home)
    small = model(home, "small", index=False, num_hidden_layers=4)
    plain = planned(home, base, "--gpu", "h100")["chosen"]
    ngram = planned(home, base, "--gpu", "h100", "--speculative", "ngram")["chosen"]
    assert ngram["serving"]["speculative"] == {"method": "ngram", "tokens": 5}
    assert ngram["memory"]["weights_gib"] == plain["memory"]["weights_gib"]
    drafted = planned(home, base, "--gpu", "h100", "--speculative", f"draft_model:{small},tokens=3")["chosen"]
    assert drafted["memory"]["weights_gib"] > plain["memory"]["weights_gib"] + 1
    assert drafted["kv_cache_tokens"] < plain["kv_cache_tokens"]


def test_this_machines_cpu(home: Home) -> None:
    folder = model(home, index=False, hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=1000,
                   num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    document = planned(home, folder, "--gpu", "cpu", "--kv-cache-memory-bytes", "1GiB", "--max-model-len", "2k")
    (fit,) = document["fits"]
    assert (fit["gpu"], fit["memory"]["kv_cache_gib"]) == ("cpu", 1.0)
    assert fit["kv_cache_tokens"] > 2048
    assert fit["kv_cache_tokens"] % 128 == 0
    assert fit["kv_blocks"] > 16
    out = home.run("plan", folder, "--gpu", "cpu", "--kv-cache-memory-bytes", "1000000GiB")
    assert out[0] == 5


def test_no_weights_are_read(home: Home) -> None:
    """A hole of a terabyte behind a header: whoever read it would not end."""
    folder = Path(model(home, index=False))
    with (folder / "model.safetensors").open("wb") as file:
        shape = (1 << 20, 1 << 19)
        size = 2 * shape[0] * shape[1]
        header = json.dumps(
            {"model.embed_tokens.weight": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}}
        ).encode()
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    assert planned(home, str(folder), "--gpu", "h100", code=5)["model"]["tensors_from"] == "headers"
    assert sorted(path.name for path in home.path.iterdir()) == ["llama", "lyc.db"], "and nothing is left behind"


COMPARED = [
    {"what": "weights_gib", "predicted": 2.0, "reported": 2.0, "error": 0.0},
    {"what": "kv_cache_gib", "predicted": 4.0, "reported": None, "error": None},
    {"what": "kv_cache_tokens", "predicted": 110, "reported": 100, "error": pytest.approx(0.1)},
    {"what": "kv_blocks", "predicted": 10, "reported": 10, "error": 0.0},
    {"what": "max_concurrency", "predicted": 1.5, "reported": 1.5, "error": 0.0},
]


def checked(**changes: Any) -> dict[str, Any]:
    forecast = {
        "weights": 2 << 30, "kv_cache": 4 << 30, "kv_tokens": 110, "kv_blocks": 10, "concurrency": 1.5, "non_torch": 0,
        "activation": 0, "cuda_graph": 0, "band": 1 << 29,
    }  # fmt: skip
    reported = {
        "weights": 2 << 30,
        "kv_cache": None,
        "cuda_graph": None,
        "kv_tokens": 100,
        "kv_blocks": 10,
        "concurrency": 1.5,
    }
    release = {
        "number": 2,
        "state": "active",
        "model": "hf:acme/a@1",
        "created_at": 1.0,
        "forecast": forecast,
        "reported": reported,
    }
    old = {**release, "number": 1, "forecast": None, "reported": None}
    return deployment(releases=[old, {**release, **changes}])


def test_a_prediction_is_held_against_what_the_engine_reported(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/deployments/a"] = (200, checked())
    code, out, err = home.run("plan", "a", "--check", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "version": 1, "name": "a", "release": 2, "model": "hf:acme/a@1", "band_gib": 0.5,
        "compared": COMPARED,
    }  # fmt: skip
    text = home.run("plan", "a", "--check")[1]
    assert re.search(r"KV tokens +110 +100 +\+10\.00%", text)


def test_nothing_to_compare(home: Home, controller: Controller) -> None:
    controller.answers["GET", "/v1/deployments/a"] = (200, checked(reported=None))
    code, out, err = home.run("plan", "a", "--check")
    assert (code, "2.00 GiB" in out) == (0, True)
    assert err == "hint: the engine has not reported yet: lyc status a\n"
    controller.answers["GET", "/v1/deployments/a"] = (200, checked(forecast=None))
    code, out, err = home.run("plan", "a", "--check")
    assert (code, out) == (1, "")
    assert err.startswith("error[no-forecast]: nothing was foretold for a\n")


def test_a_plan_imports_nothing_heavy(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from lyc.cli.main import main; main()", "plan", model(home)],
        env=home.env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    names = {name.partition(".")[0] for name in re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)}
    heavy = {"boto3", "botocore", "fastapi", "httpx", "huggingface_hub", "psutil", "rich", "sqlalchemy", "uvicorn"}
    assert names & heavy == set()
