"""Every answer that is the gateway's own, in OpenAI's shape: `{"error": {message, type, param, code}}`.

An engine's answers pass unchanged; only what Envoy says by itself (and what auth.lua says) is written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lyc.gateway.xds import Json
from lyc.units import MIB

MAX_BODY_BYTES = 32 * MIB
"""A larger request gets 413. 32 MiB holds a million tokens of text, or a 25 MB audio file with its envelope."""

RETRY_AFTER_SECONDS = 5

NAMESPACE = "lyc"
"""Dynamic metadata of a request: `key_id`, `deployment`, and `said` when auth.lua has written the answer itself."""

_REPLIES: Mapping[int, tuple[str, str, str]] = {
    400: ("The request is malformed.", "invalid_request_error", "bad_request"),
    401: (
        "Missing or incorrect API key: send a key of this deployment as 'Authorization: Bearer <key>'.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    403: ("This request is not allowed.", "invalid_request_error", "forbidden"),
    404: (
        "There is nothing at this path: the base URL of a deployment is /<deployment>/v1.",
        "invalid_request_error",
        "not_found",
    ),
    408: ("The request did not arrive in time.", "invalid_request_error", "request_timeout"),
    413: (
        f"The request is larger than {MAX_BODY_BYTES // MIB} MiB.",
        "invalid_request_error",
        "request_too_large",
    ),
    426: ("HTTP/1.1 or HTTP/2 is needed.", "invalid_request_error", "upgrade_required"),
    429: ("Too many requests.", "rate_limit_error", "rate_limit_exceeded"),
    431: ("The headers of the request are too large.", "invalid_request_error", "headers_too_large"),
    500: ("The gateway failed on this request.", "server_error", "internal_error"),
    502: ("The replica answered with something that is not HTTP.", "server_error", "bad_gateway"),
    503: ("The replica that had this request is gone; try again.", "server_error", "replica_lost"),
    504: ("The replica did not answer in time.", "server_error", "replica_timeout"),
}
_NO_REPLICA = ("No replica of this deployment is ready; try again soon.", "server_error", "no_replica_ready")
_NO_REPLICA_FLAGS = ("UH", "NC", "UF")  # nobody is well; the cluster is not there yet or no longer; nobody listens
_OTHER = ("The gateway refused this request.", "invalid_request_error", "refused")


def body(status: int) -> str:
    """The gateway's own body for `status`, JSON."""
    return _text(_REPLIES.get(status, _OTHER))


def local_reply_config() -> Json:
    """Envoy's `local_reply_config`: the first mapper that matches writes the body."""
    said = {"filter": NAMESPACE, "path": [{"key": "said"}], "value": {"bool_match": True}}
    mappers: list[Json] = [
        _keep({"metadata_filter": {"matcher": said, "match_if_key_not_found": False}}, "application/json"),
        _keep(_status_is(200), "text/plain"),
        _mapper({"response_flag_filter": {"flags": list(_NO_REPLICA_FLAGS)}}, _NO_REPLICA, retry=True),
    ]
    mappers += [_mapper(_status_is(code), reply, retry=code in (429, 503)) for code, reply in _REPLIES.items()]
    return {"mappers": mappers, "body_format": _format(_text(_OTHER))}


def _text(reply: tuple[str, str, str]) -> str:
    message, kind, code = reply
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}, separators=(",", ":"))


def _format(text: str, content_type: str = "application/json") -> Json:
    return {"text_format_source": {"inline_string": text}, "content_type": content_type}


def _mapper(which: Json, reply: tuple[str, str, str], *, retry: bool) -> Json:
    mapper: Json = {"filter": which, "body_format_override": _format(_text(reply))}
    if retry:
        header = {"key": "retry-after", "value": str(RETRY_AFTER_SECONDS)}
        mapper["headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return mapper


def _keep(which: Json, content_type: str) -> Json:
    return {"filter": which, "body_format_override": _format("%LOCAL_REPLY_BODY%", content_type)}


def _status_is(code: int) -> Json:
    value = {"default_value": code, "runtime_key": f"lyc.reply.{code}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
