"""Weights from a hub and a bucket, a quantized checkpoint, a draft, an embedder: from `lyc deploy` to an answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from lyc.testing.models import TinyModels
from tests.e2e.harness import FAST, Lyc
from tests.sources import hub, s3server

pytestmark = pytest.mark.engine


def complete(deployed: Any, prompt: str = "1 2 3 4 1 2 3 4 1 2 3", tokens: int = 32) -> str:
    answer = httpx.post(
        deployed["url"] + "/completions",
        json={"model": deployed["name"], "prompt": prompt, "max_tokens": tokens, "temperature": 0},
        headers={"authorization": f"Bearer {deployed['key']}"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


def test_from_a_hub_quantized_with_a_draft_of_the_same_vocabulary(lyc: Lyc, models: TinyModels) -> None:
    with hub.Server() as running:
        commit = running.add("acme/tiny", models.quantized("w4a16"), gated=True)
        running.add("acme/draft", models.draft())
        running.tokens["hf_token-of-the-test"] = {"acme/tiny", "acme/draft"}
        env = {"HF_ENDPOINT": running.url, "HF_TOKEN": "hf_token-of-the-test"}
        words = ["--speculative", "draft_model:acme/draft,tokens=2"]
        deployed = lyc.json("deploy", "acme/tiny", "--name", "hub", *FAST, *words, env=env)
    assert deployed["model"] == f"hf:acme/tiny@{commit}"
    assert complete(deployed)
    assert lyc.gauge("hub", "spec_decode_num_draft_tokens_total") > 0
    for path in lyc.home.rglob("*"):  # the token went with the deploy and is gone with it
        if path.is_file() and not path.is_socket():
            assert b"hf_token-of-the-test" not in path.read_bytes(), path


def test_from_a_bucket_with_quantized_weights(lyc: Lyc, models: TinyModels, tmp_path: Path) -> None:
    with s3server.Server(tmp_path / "s3") as line:
        shutil.copytree(models.quantized("w8a8"), line.folder / "models" / "tiny-w8a8")
        env = {"AWS_ACCESS_KEY_ID": s3server.KEY, "AWS_SECRET_ACCESS_KEY": s3server.SECRET}
        words = ["--s3-endpoint", line.url, "--speculative", "ngram"]
        deployed = lyc.json("deploy", "s3://models/tiny-w8a8", "--name", "bucket", *FAST, *words, env=env)
    assert deployed["model"].startswith("s3://models/tiny-w8a8")
    assert complete(deployed)
    assert lyc.gauge("bucket", "spec_decode_num_draft_tokens_total") > 0
    assert "compressed-tensors" in lyc.run("logs", "bucket", "--tail", "2000").stdout


def test_a_model_that_embeds_is_proven_by_an_embedding(lyc: Lyc, models: TinyModels) -> None:
    folder = models.changed("embedder", architectures=["LlamaModel"])
    deployed = lyc.json("deploy", str(folder), "--name", "embedder", *FAST)
    assert deployed["proof"]["kind"] == "embedding"
    assert deployed["proof"]["answer"] == "64 dimensions"
    client = openai.OpenAI(base_url=deployed["url"], api_key=deployed["key"], max_retries=0)
    answer = client.embeddings.create(model="embedder", input=["one", "two"])
    assert [len(item.embedding) for item in answer.data] == [64, 64]
