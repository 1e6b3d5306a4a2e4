"""What a deploy ends with: URL, key, and a request to paste, for the shell and for Python."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyc.control.documents import DeployResult


def card(result: DeployResult, key: str | None, *, chat: bool) -> str:
    """The text. Without a key the snippets read it from LYC_KEY. chat: False for a model without a chat template."""
    rows = [("URL", result["url"]), ("model", result["served_name"])]
    if key:
        rows.insert(1, ("key", key))
    table = "\n".join(f"{label:<6} {value}" for label, value in rows)
    name, url = result["served_name"], result["url"]
    return f"{table}\n\n{curl(url, key, name, chat=chat)}\n\n{python(url, key, name, chat=chat)}"


def curl(url: str, key: str | None, model: str, *, chat: bool) -> str:
    """A command for sh."""
    path, body = _request(model, chat)
    bearer = f"Authorization: Bearer {key}" if key else "Authorization: Bearer $LYC_KEY"
    quoted = shlex.quote(bearer) if key else f'"{bearer}"'
    return (
        f"curl {shlex.quote(url + path)} \\\n"
        f"  -H {quoted} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body))}"
    )


def python(url: str, key: str | None, model: str, *, chat: bool) -> str:
    """A script for the official client, `pip install openai`."""
    secret = json.dumps(key) if key else 'os.environ["LYC_KEY"]'
    ask = (
        f"answer = client.chat.completions.create(\n"
        f'    model={json.dumps(model)}, messages=[{{"role": "user", "content": "Hello!"}}]\n'
        f")\n"
        f"print(answer.choices[0].message.content)"
        if chat
        else f'answer = client.completions.create(model={json.dumps(model)}, prompt="Hello!")\n'
        f"print(answer.choices[0].text)"
    )
    imports = "from openai import OpenAI\n" if key else "import os\n\nfrom openai import OpenAI\n"
    return f"{imports}\nclient = OpenAI(base_url={json.dumps(url)}, api_key={secret})\n{ask}"


def _request(model: str, chat: bool) -> tuple[str, dict[str, object]]:
    if chat:
        return "/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return "/completions", {"model": model, "prompt": "Hello!"}
