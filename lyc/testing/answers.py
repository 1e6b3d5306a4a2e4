"""What the engine stand-in answers, in the exact shapes (field order, no spaces) of vLLM's server. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

Json = Mapping[str, object]

CREATED = 1_700_000_000
WORDS = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", ".", ' "usage":{', " é→😀")
"""Twelve words that are said in turn; two of them would trip a reader that does not know JSON or UTF-8."""


def prompt_tokens(body: Json) -> int:
    """One token a word of the prompt."""
    if isinstance(messages := body.get("messages"), list):
        return sum(len(str(message.get("content", "")).split()) for message in messages)
    source = body.get("prompt", body.get("input", ""))
    return sum(len(str(text).split()) for text in (source if isinstance(source, list) else [source]))


def usage(body: Json, completion: int) -> dict[str, object]:
    """The `usage` of an answer of that many tokens."""
    prompt = prompt_tokens(body)
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def word(index: int) -> str:
    return WORDS[index % len(WORDS)]


def identity(kind: str, raw: bytes) -> str:
    """The same request has the same id, so that two ways to the engine can be compared byte by byte."""
    return f"{kind}-{hashlib.sha256(raw).hexdigest()[:24]}"


def chat(body: Json, raw: bytes, model: str, tokens: int) -> dict[str, object]:
    """A whole answer of /v1/chat/completions."""
    message = {"role": "assistant", "content": "".join(word(at) for at in range(tokens))}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    head = {"id": identity("chatcmpl", raw), "object": "chat.completion", "created": CREATED, "model": model}
    return {**head, "choices": [choice], "usage": usage(body, tokens)}


def completion(body: Json, raw: bytes, model: str, tokens: int) -> dict[str, object]:
    """A whole answer of /v1/completions."""
    choice = {"index": 0, "text": "".join(word(at) for at in range(tokens)), "finish_reason": "length"}
    head = {"id": identity("cmpl", raw), "object": "text_completion", "created": CREATED, "model": model}
    return {**head, "choices": [choice], "usage": usage(body, tokens)}


def embeddings(body: Json, raw: bytes, model: str) -> dict[str, object]:
    """An answer of /v1/embeddings: 32 numbers a text, the same for the same text."""
    source = body.get("input", "")
    texts = source if isinstance(source, list) else [source]
    data = [
        {
            "index": at,
            "object": "embedding",
            "embedding": [digit / 256 for digit in hashlib.sha256(f"{text}".encode()).digest()],
        }
        for at, text in enumerate(texts)
    ]
    head = {"id": identity("embd", raw), "object": "list", "created": CREATED, "model": model}
    return {**head, "data": data, "usage": usage(body, 0)}


def events(body: Json, raw: bytes, model: str, tokens: int, *, chat_shape: bool, force_usage: bool) -> Iterator[bytes]:
    """The server-sent events of a stream, one by one; the first is the head (chat only), the last `[DONE]`."""
    options = body.get("stream_options")
    wish = options if isinstance(options, dict) else {}
    include = bool(wish.get("include_usage")) or force_usage
    continuous = include and (bool(wish.get("continuous_usage_stats")) or force_usage)
    kind, thing = ("chatcmpl", "chat.completion.chunk") if chat_shape else ("cmpl", "text_completion")
    head = {"id": identity(kind, raw), "object": thing, "created": CREATED, "model": model}

    def event(choices: list[object], count: int, *, last: bool = False) -> bytes:
        tail = {"usage": usage(body, count)} if continuous or last else {}
        return b"data: " + _dump({**head, "choices": choices, **tail}) + b"\n\n"

    if chat_shape:
        yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], 0)
    for at in range(tokens):
        finish = "length" if at == tokens - 1 else None
        said = {"delta": {"content": word(at)}} if chat_shape else {"text": word(at)}
        yield event([{"index": 0, **said, "finish_reason": finish}], at + 1)
    if include:
        yield event([], tokens, last=True)
    yield b"data: [DONE]\n\n"


def error(status: int, message: str, kind: str) -> bytes:
    """vLLM's own error shape, `code` being the status: it must reach the client as it is."""
    return _dump({"error": {"message": message, "type": kind, "param": None, "code": status}})


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
