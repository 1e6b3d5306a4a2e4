"""The small real model on a real CPU vLLM behind a real Envoy, driven by the official `openai` package."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.harness import Lyc, wait_for

pytestmark = pytest.mark.engine

NAME = "smollm2"


@pytest.fixture(scope="module")
def deployed(shared: Lyc) -> Any:
    tools = ["--engine-arg", "enable-auto-tool-choice=true", "--engine-arg", "tool-call-parser=hermes"]
    return shared.json("deploy", "sample:smollm2-135m", "--name", NAME, "--max-model-len", "1024", *tools, timeout=600)


@pytest.fixture(scope="module")
def client(deployed: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=deployed["url"], api_key=deployed["key"], max_retries=0)


def test_the_document_of_a_deploy(deployed: Any) -> None:
    assert {"name", "url", "key", "model", "release", "host"} <= deployed.keys()
    assert deployed["name"] == NAME
    assert deployed["url"].endswith(f"/{NAME}/v1")
    assert deployed["release"] == 1
    assert deployed["host"] == "local"


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=24,
        temperature=0,
    )
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens > 1


def test_completions_know_how_to_count(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="1, 2, 3, 4, 5, 6, 7,", max_tokens=6, temperature=0)
    assert answer.choices[0].text.startswith(" 8, 9")


def test_streaming(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Tell a story."}], max_tokens=20, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 5
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 20


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="a b c d e f g", max_tokens=3, temperature=0, logprobs=2)
    found = answer.choices[0].logprobs
    assert found
    assert found.token_logprobs
    assert all(value is not None and value <= 0 for value in found.token_logprobs)
    assert found.top_logprobs
    assert len(found.top_logprobs[0]) >= 2


def test_a_json_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "population": {"type": "integer", "maximum": 99999},
        },
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Describe Paris."}], max_tokens=64, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}},
    )  # fmt: skip
    assert json.loads(answer.choices[0].message.content or "").keys() == {"city", "population"}


def test_a_named_tool_is_called_by_its_schema(client: openai.OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 20}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    answer = client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "Weather in Berlin?"}], max_tokens=200, temperature=0,
        tools=[tool], tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )  # fmt: skip
    calls = answer.choices[0].message.tool_calls
    assert calls
    call: Any = calls[0]
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_models_names_the_deployment(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [NAME]


def test_embeddings_are_refused_as_the_engine_refuses_them(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refusal:
        client.embeddings.create(model=NAME, input="hello")
    assert refusal.value.status_code in (400, 404)


@pytest.mark.parametrize("key", ["lyc_wrong", "x" * 4000])
def test_a_wrong_key_is_an_openai_shaped_401(deployed: Any, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as refusal:
        openai.OpenAI(base_url=deployed["url"], api_key=key, max_retries=0).models.list()
    assert refusal.value.code == "invalid_api_key"


def test_no_key_is_401_too(deployed: Any) -> None:
    answer = httpx.get(deployed["url"] + "/models")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path", ["/metrics", "/health", "/version", "/tokenize", "/invocations", "/openapi.json", "/docs", "/v1/../metrics"]
)
def test_the_engines_other_paths_are_not_reachable(deployed: Any, path: str) -> None:
    root = deployed["url"].removesuffix("/v1")
    headers = {"authorization": f"Bearer {deployed['key']}"}
    for url in (root + path, root.removesuffix(f"/{NAME}") + path):
        answer = httpx.request("POST" if "invocations" in path or "tokenize" in path else "GET", url, headers=headers)
        assert answer.status_code in (401, 404), (url, answer.status_code, answer.text[:200])
        assert "vllm:" not in answer.text


def test_a_revoked_key_stops_at_once(shared: Lyc, deployed: Any) -> None:
    made = shared.json("keys", "create", NAME, "--label", "temporary")
    other = openai.OpenAI(base_url=deployed["url"], api_key=made["key"], max_retries=0)

    def opens() -> bool:
        try:
            other.models.list()
        except openai.AuthenticationError:
            return False
        return True

    wait_for(opens, 2, "the new key")
    shared.json("keys", "revoke", NAME, made["id"])
    wait_for(lambda: not opens(), 1, "the end of the revoked key")
    listed = {key["id"]: key for key in shared.json("keys", "ls", NAME, "--all")["keys"]}
    assert listed[made["id"]]["revoked_at"]
    assert made["key"] not in json.dumps(listed)


def test_a_client_that_hangs_up_ends_the_generation(shared: Lyc, client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=NAME, prompt="Once upon a time", max_tokens=900, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    wait_for(lambda: shared.gauge(NAME, "num_requests_running") == 1, 5, "the running request")
    stream.close()
    wait_for(lambda: shared.gauge(NAME, "num_requests_running") == 0, 5, "its end")
    assert shared.gauge(NAME, "generation_tokens_total") < 900


def test_chat_verb_streams_an_answer(shared: Lyc, deployed: Any) -> None:
    del deployed
    assert shared.run("chat", NAME, "Say hello.").stdout.strip()


def test_the_key_is_nowhere_on_the_disk(shared: Lyc, deployed: Any) -> None:
    secret = deployed["key"].encode()
    for path in shared.home.rglob("*"):
        if path.is_file() and not path.is_socket():
            assert secret not in path.read_bytes(), path


def test_everything_private_is_private(shared: Lyc, deployed: Any) -> None:
    del deployed
    for path in shared.home.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o077 == 0, path
