"""The port: who is let in, in which order the filters stand, and what is written down about each request."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from lyc.errors import UsageError
from lyc.gateway import keys, replies
from lyc.gateway.access import RBAC, RBAC_FILTER, only_with
from lyc.gateway.front import FROM_CALLERS, RESERVED
from lyc.gateway.routes import IDLE_SECONDS, ROUTE_CONFIG
from lyc.gateway.xds import Json, from_file, typed

LISTENER = "gateway"
_ASIDE = "lyc-caller-"


def listener(host: str, port: int, files: Path, access_log: Path) -> Json:
    """The one listener. Nothing in it depends on deployments, endpoints or keys: a changed listener ends streams."""
    address = {"socket_address": {"address": bind_address(host), "port_value": port}}
    return typed(
        "config.listener.v3.Listener",
        name=LISTENER,
        address=address,
        # Without this a second Envoy of the same user could bind the same port and take half of the connections.
        enable_reuse_port=False,
        filter_chains=[{"filters": [{"name": "http", "typed_config": _http(files, access_log)}]}],
    )


def bind_address(host: str) -> str:
    """The IP address to listen on. Raises `UsageError` where `host` is a name other than `localhost`."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise UsageError(
            "gateway-host-invalid",
            f"{host!r} is not an IP address to listen on",
            where="--gateway-host / LYC_GATEWAY_HOST",
            hint="lyc controller start --gateway-host 127.0.0.1",
        ) from None


def _http(files: Path, access_log: Path) -> Json:
    return typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        rds={"route_config_name": ROUTE_CONFIG, "config_source": from_file(files, "rds.json")},
        http_filters=_filters(files),
        local_reply_config=replies.local_reply_config(),
        access_log=[_access_log(access_log)],
        # Paths are brought to one form before the key check and the router see them, so both see the same.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        # Nobody is trusted by address: x-envoy-* of a client are dropped, and no client address goes to the engine.
        use_remote_address=True,
        internal_address_config={},
        skip_xff_append=True,
        early_header_mutation_extensions=[_strip_reserved_headers()],
        common_http_protocol_options={"idle_timeout": "300s", "headers_with_underscores_action": "DROP_HEADER"},
        http2_protocol_options={"max_concurrent_streams": 1024},
        generate_request_id=True,
        always_set_request_id_in_response=True,
        server_header_transformation="PASS_THROUGH",
        request_headers_timeout="10s",
        request_timeout="120s",
        stream_idle_timeout=f"{IDLE_SECONDS}s",
        drain_timeout="5s",
        delayed_close_timeout="1s",
    )


def _strip_reserved_headers() -> Json:
    """Nothing with a name that is ours or Envoy's gets in, but what callers may say (RE2 knows no "all but these")."""
    aside = {name: f"{_ASIDE}{name.removeprefix(RESERVED)}" for name in FROM_CALLERS}
    mutations = [
        _removed(_ASIDE),
        *(_copied(name, into) for name, into in aside.items()),
        _removed(RESERVED),
        _removed("x-envoy-"),
        *(_copied(into, name) for name, into in aside.items()),
        _removed(_ASIDE),
    ]
    config = typed("extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations)
    return {"name": "reserved", "typed_config": config}


def _removed(prefix: str) -> Json:
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}


def _copied(name: str, into: str) -> Json:
    """One that is not there is not made either."""
    return {"append": {"header": {"key": into, "value": f"%REQ({name})%"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}}


def _filters(files: Path) -> list[Json]:
    size = typed("extensions.filters.http.buffer.v3.Buffer", max_request_bytes=replies.MAX_BODY_BYTES)
    router = typed("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return [
        _discovered(keys.AUTH, files, "ecds-auth.json"),
        {"name": RBAC, "typed_config": typed(RBAC_FILTER, rules=only_with("key_id", {"present_match": True}))},
        # The whole request is held before a replica sees it: only then can it be sent again when that replica dies.
        {"name": "envoy.filters.http.buffer", "typed_config": size},
        _discovered(keys.USAGE, files, "ecds-usage.json"),
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]


def _discovered(name: str, files: Path, file: str) -> Json:
    source = {**from_file(files, file), "initial_fetch_timeout": "5s"}
    return {
        "name": name,
        "config_discovery": {"config_source": source, "type_urls": [f"type.googleapis.com/envoy.{keys.LUA}"]},
    }


def _access_log(path: Path) -> Json:
    """One JSON object a line. No header, no body, no query: nothing that could hold a key or a prompt."""
    fields = {
        "ts": "%START_TIME%",
        "id": "%REQ(X-REQUEST-ID)%",
        "key_id": f"%DYNAMIC_METADATA({replies.NAMESPACE}:key_id)%",
        "deployment": f"%DYNAMIC_METADATA({replies.NAMESPACE}:deployment)%",
        "method": "%REQ(:METHOD):32%",
        "path": "%PATH(NQ:PATH):256%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "ms": "%DURATION%",
        "ttfb_ms": "%RESPONSE_DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "prompt_tokens": "%DYNAMIC_METADATA(lyc.usage:prompt_tokens)%",
        "completion_tokens": "%DYNAMIC_METADATA(lyc.usage:completion_tokens)%",
        "replica": "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    config = typed(
        "extensions.access_loggers.file.v3.FileAccessLog", path=str(path), log_format={"json_format": fields}
    )
    return {"name": "envoy.access_loggers.file", "typed_config": config}
