"""What a deploy ends with: URL, key, and a request to paste, for the shell and for Python."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyc.control.documents import DeployResult


def card(result: DeployResult, key: str | None, *, kind: str = "chat") -> str:
    """The text. Without a key the snippets read it from LYC_KEY. kind: of request, see `lyc.cli.proof.Proof`."""
    rows = [("URL", result["url"]), ("model", result["served_name"])]
    if key:
        rows.insert(1, ("key", key))
    table = "\n".join(f"{label:<6} {value}" for label, value in rows)
    name, url = result["served_name"], result["url"]
    return f"{table}\n\n{curl(url, key, name, kind=kind)}\n\n{python(url, key, name, kind=kind)}"


def curl(url: str, key: str | None, model: str, *, kind: str = "chat") -> str:
    """A command for sh."""
    path, body = _request(model, kind)
    bearer = f"Authorization: Bearer {key}" if key else "Authorization: Bearer $LYC_KEY"
    quoted = shlex.quote(bearer) if key else f'"{bearer}"'
    command = f"curl {shlex.quote(url + path)} \\\n  -H {quoted}"
    if body is None:
        return command
    return f"{command} -H 'Content-Type: application/json' \\\n  -d {shlex.quote(json.dumps(body))}"


def python(url: str, key: str | None, model: str, *, kind: str = "chat") -> str:
    """A script for the official client, `pip install openai`."""
    secret = json.dumps(key) if key else 'os.environ["LYC_KEY"]'
    imports = "from openai import OpenAI\n" if key else "import os\n\nfrom openai import OpenAI\n"
    return f"{imports}\nclient = OpenAI(base_url={json.dumps(url)}, api_key={secret})\n{_ask(json.dumps(model), kind)}"


def _ask(model: str, kind: str) -> str:
    match kind:
        case "completion":
            return f'answer = client.completions.create(model={model}, prompt="Hello!")\nprint(answer.choices[0].text)'
        case "embedding":
            return f'answer = client.embeddings.create(model={model}, input="Hello!")\nprint(answer.data[0].embedding)'
        case "models":
            return "print(client.models.list())"
        case _:
            return (
                f"answer = client.chat.completions.create(\n"
                f'    model={model}, messages=[{{"role": "user", "content": "Hello!"}}]\n'
                f")\n"
                f"print(answer.choices[0].message.content)"
            )


def _request(model: str, kind: str) -> tuple[str, dict[str, object] | None]:
    match kind:
        case "completion":
            return "/completions", {"model": model, "prompt": "Hello!"}
        case "embedding":
            return "/embeddings", {"model": model, "input": "Hello!"}
        case "models":
            return "/models", None
        case _:
            return "/chat/completions", {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
