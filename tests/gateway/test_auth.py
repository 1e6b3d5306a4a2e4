"""Who may pass, and what those learn who may not. Every case against a real Envoy."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from urllib.parse import unquote

import httpx

from lyc.gateway.replies import body
from lyc.records.gateway import KeyEntry
from tests.gateway.rig import Rig, StandIn, until

CHAT = "/alpha/v1/chat/completions"


def refused(answer: httpx.Response) -> None:
    """The one 401 there is: same status, same body, same headers for whatever was wrong."""
    assert answer.status_code == 401
    assert answer.text == body(401)
    assert json.loads(answer.text)["error"]["code"] == "invalid_api_key"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert set(answer.headers) - {"connection"} == {
        "content-type", "content-length", "date", "www-authenticate", "x-request-id"
    }  # fmt: skip


def test_right_key_passes(rig: Rig, alpha: StandIn) -> None:
    answer = rig.call("GET", "/alpha/v1/models")
    assert answer.status_code == 200
    assert answer.json()["data"][0]["id"] == "stand-in"


def test_scheme_is_case_insensitive_as_the_rfc_says(rig: Rig, alpha: StandIn) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        headers = {"authorization": f"{scheme} {rig.keys['alpha']}"}
        assert rig.call("GET", "/alpha/v1/models", None, headers=headers).status_code == 200


def test_wrong_credentials_are_all_the_same_401(rig: Rig, alpha: StandIn) -> None:
    key = rig.keys["alpha"]
    basic, digest = base64.b64encode(f"user:{key}".encode()).decode(), hashlib.sha256(key.encode()).hexdigest()
    for wrong in (
        "", "Bearer", "Bearer wrong", "Bearer " + "x" * 400, "Bearer " + "x" * 20_000, "wrong", "Bearer\ta", key,
        f"Bearer {key}x", f"Bearer {key},{key}", f"Bearer wrong {key}", f"Basic {basic}", f"Token {key}",
        f"Bearer {digest}", f"Bearer {rig.keys['beta']}", "Bearer é", f"Bearer {key[:-1]}", f"Bearer {key.upper()}",
    ):  # fmt: skip
        refused(rig.call("GET", "/alpha/v1/models", None, headers={"authorization": wrong.encode()}))
    assert alpha.seen()["requests"] == 0


def test_two_authorization_headers_are_refused(rig: Rig, alpha: StandIn) -> None:
    right = f"Bearer {rig.keys['alpha']}"
    for first, second in (("Bearer wrong", right), (right, "Bearer wrong"), (right, right)):
        with httpx.Client() as client:
            headers = [("authorization", first), ("authorization", second)]
            refused(client.get(f"{rig.url}/alpha/v1/models", headers=headers))


def test_no_key_learns_neither_names_nor_paths(rig: Rig, alpha: StandIn) -> None:
    paths = ("/alpha/v1/models", "/beta/v1/models", "/nobody/v1/models", "/v1/models", "/metrics", "/", "/alpha",
             "/alpha/v1/load_lora_adapter", "/alpha/metrics", "/healthz/", "/healthz/x", "/alpha/v1")  # fmt: skip
    for path in paths:
        for key in (None, "wrong"):
            refused(rig.call("GET", path, key))
    refused(rig.call("POST", CHAT, None, content=b"x" * 1000))
    refused(rig.call("OPTIONS", CHAT, None))


def test_key_of_one_deployment_learns_nothing_of_others(rig: Rig, alpha: StandIn) -> None:
    for path in ("/beta/v1/models", "/nobody/v1/models", "/beta/v1/load_lora_adapter"):
        refused(rig.call("GET", path, "alpha"))
    refused(rig.call("GET", "/alpha/v1/models", "beta"))


def test_key_in_other_places_does_not_count(rig: Rig, alpha: StandIn) -> None:
    key = rig.keys["alpha"]
    refused(rig.call("GET", f"/alpha/v1/models?api_key={key}&key={key}&access_token={key}", None))
    for name in ("x-api-key", "api-key", "proxy-authorization", "cookie", "x-lyc-key-id", "x-authorization"):
        refused(rig.call("GET", "/alpha/v1/models", None, headers={name: f"Bearer {key}"}))


def test_spoofed_internal_headers_do_nothing(rig: Rig, alpha: StandIn) -> None:
    spoof = {
        "x-lyc-key-id": "key-alpha-0", "x-lyc-deployment": "alpha", "x-envoy-internal": "true",
        "x-envoy-original-path": "/healthz", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "100",
        "x-envoy-upstream-alt-stat-name": "x", "x-forwarded-for": "127.0.0.1", "x-request-id": "spoofed",
    }  # fmt: skip
    refused(rig.call("GET", "/alpha/v1/models", None, headers=spoof))
    alpha.tell(ttft=0.2)  # a client's timeout of 1 ms must not be obeyed
    answer = rig.chat()
    assert answer.status_code == 200
    answer = rig.call("GET", "/alpha/v1/models", headers=spoof)
    assert answer.status_code == 200
    sent = alpha.seen()["last_headers"]
    assert not {name for name in sent if name.startswith(("x-lyc-", "x-envoy-", "x-forwarded-"))}
    assert sent["x-request-id"] != "spoofed"
    assert answer.headers["x-request-id"] == sent["x-request-id"]


def test_engine_gets_its_own_key_and_never_the_clients(rig: Rig, alpha: StandIn) -> None:
    answer = rig.chat()
    assert answer.status_code == 200
    seen = alpha.seen()
    assert seen["unauthorised"] == 0
    assert seen["last_headers"]["authorization"] == f"Bearer {rig.engine_key}"
    assert rig.keys["alpha"] not in json.dumps(seen)
    assert rig.engine_key not in answer.text + str(answer.headers)


def test_no_way_of_writing_a_path_gets_past_the_check(rig: Rig, alpha: StandIn) -> None:
    """Sent raw, as no client library would: without a key never an engine, with one never outside /v1."""
    key = rig.keys["alpha"]
    for path in (
        "/healthz/../alpha/v1/models", "/healthz/%2e%2e/alpha/v1/models", "/healthz%2f..%2falpha/v1/models",
        "/alpha/v1/../../beta/v1/models", "/beta/v1/../../alpha/v1/models", "//alpha/v1/models",
        "/%61lpha/v1/models", "/alpha/%76%31/models", "/alpha/v1/%2e%2e/metrics", "/alpha/v1/..%2fmetrics",
        "/alpha/v1/..%5cmetrics", "/alpha/v1/..\\metrics", "/alpha/v1/%252e%252e/metrics", "/alpha;x/v1/models",
        "/ALPHA/v1/models", "/alpha/V1/models", "/alpha/v1/models#/healthz", "/healthz?/alpha/v1/models",
        "/healthz#", "/healthz;/alpha/v1/models", "/healthz%00/alpha/v1/models", "/alpha%00/v1/models",
        "/alpha/v1/x%0d%0ay", "/alpha/v1/%2e%2e%2fmetrics", "/alpha/v1/.%2e/.%2e/metrics", "*", "alpha/v1/models",
    ):  # fmt: skip
        before = alpha.seen()["requests"]
        without = rig.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert alpha.seen()["requests"] == before, path
        assert without.split()[1] in (b"400", b"401", b"404") or without.endswith(b"\r\n\r\nok\n"), (path, without)
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
        rig.raw(head.encode())
        seen = alpha.seen()
        if seen["requests"] > before:
            reached = unquote(seen["last_target"])  # as an engine reads it
            assert reached.startswith("/v1/"), path
            assert "/.." not in reached, path


def test_administration_under_v1_is_not_reachable(rig: Rig, alpha: StandIn) -> None:
    head = f"HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {rig.keys['alpha']}\r\ncontent-length: 2\r\n\r\n{{}}"
    for path in (
        "/load_lora_adapter", "/unload_lora_adapter", "/load_lora_adapter/", "/load_lora_adapter?x=1",
        "//load_lora_adapter", "/%6coad_lora_adapter", "/load%5flora_adapter", "/./load_lora_adapter",
        "/x/../load_lora_adapter", "/models/%2e%2e/load_lora_adapter", "/../../alpha/v1/load_lora_adapter",
        "/%75nload_lora_adapter", "/%2fload_lora_adapter", "/load_lora_adapter%2f", "/.%2fload_lora_adapter",
    ):  # fmt: skip
        answer = rig.raw(f"POST /alpha/v1{path} {head}".encode())
        assert answer.split()[1] in (b"400", b"404"), (path, answer)
        assert b'{"error":{"message":' in answer
    assert alpha.seen()["administered"] == 0
    assert rig.call("POST", "/alpha/v1/load_lora_adapter", json={}).json()["error"]["code"] == "not_found"


def test_everything_outside_v1_is_404_even_with_a_key(rig: Rig, alpha: StandIn) -> None:
    for path in ("/metrics", "/alpha/metrics", "/alpha/health", "/alpha/version", "/alpha", "/alpha/", "/alpha/v1",
                 "/alpha/tokenize", "/alpha/v2/rerank", "/alpha/stand-in", "/alpha/v1/../stand-in", "/v1/models",
                 "/alpha/sleep", "/alpha/collective_rpc", "/alpha/openapi.json", "/docs"):  # fmt: skip
        answer = rig.call("GET", path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert alpha.seen()["requests"] == 0


def test_absolute_form_and_host_header_change_nothing(rig: Rig, alpha: StandIn) -> None:
    key = rig.keys["alpha"]
    for target in ("http://evil.example/alpha/v1/models", "http://healthz/alpha/v1/models"):
        head = f"GET {target} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n"
        assert rig.raw(f"{head}\r\n".encode()).split()[1] == b"401"
        assert rig.raw(f"{head}authorization: Bearer {key}\r\n\r\n".encode()).split()[1] == b"200"
    connect = b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n"
    assert rig.raw(connect, seconds=2).split()[1] in (b"401", b"404", b"403", b"405")


def test_request_smuggling_shapes_are_refused(rig: Rig, alpha: StandIn) -> None:
    key = rig.keys["alpha"]
    hidden = b"POST /v1/load_lora_adapter HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n".encode()
    for framing in (
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"content-length: 0\r\ncontent-length: 60\r\n\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ):
        rig.raw(head + framing + hidden, seconds=1)
    assert alpha.seen()["administered"] == 0


def test_http2_with_prior_knowledge(rig: Rig, alpha: StandIn) -> None:
    """The same check over h2, spoken by hand: preface, SETTINGS, HEADERS in plain literals."""
    assert _h2_status(rig, "/alpha/v1/models", None) == "401"
    assert _h2_status(rig, "/alpha/v1/models", rig.keys["beta"]) == "401"
    assert _h2_status(rig, "/healthz/../alpha/v1/models", None) == "401"
    assert _h2_status(rig, "/alpha/v1/load_lora_adapter", rig.keys["alpha"]) == "404"
    assert _h2_status(rig, "/alpha/v1/models", rig.keys["alpha"]) == "200"


def test_revoked_key_is_refused_when_apply_returns(rig: Rig, alpha: StandIn) -> None:
    assert rig.call("GET", "/alpha/v1/models").status_code == 200
    key = rig.new_key("alpha", "second")
    rig.apply(alpha=[alpha.endpoint], beta=[])
    assert rig.call("GET", "/alpha/v1/models", key).status_code == 200
    digest = hashlib.sha256(key.encode()).hexdigest()
    rig.entries = [entry for entry in rig.entries if entry.sha256 != digest]
    begun = time.monotonic()
    rig.apply(alpha=[alpha.endpoint], beta=[])
    until(lambda: rig.call("GET", "/alpha/v1/models", key).status_code == 401, "the key is refused")
    assert time.monotonic() - begun < 2.0  # 0.02 to 0.1 s on an idle machine
    refused(rig.call("GET", "/alpha/v1/models", key))
    assert rig.call("GET", "/alpha/v1/models").status_code == 200


def test_no_keys_at_all_refuses_everyone(rig: Rig, alpha: StandIn) -> None:
    rig.entries = []
    rig.apply(alpha=[alpha.endpoint], beta=[])
    until(lambda: rig.call("GET", "/alpha/v1/models").status_code == 401, "the key is refused")
    assert rig.call("GET", "/healthz").status_code == 200


def test_ten_thousand_keys_every_hundredth_tried(rig: Rig, alpha: StandIn) -> None:
    plain = [f"lyc-many-{at}" for at in range(10_000)]
    rig.entries += [
        KeyEntry(hashlib.sha256(key.encode()).hexdigest(), f"many-{at}", "alpha" if at % 2 else "beta")
        for at, key in enumerate(plain)
    ]
    rig.apply(alpha=[alpha.endpoint], beta=[])
    until(lambda: rig.call("GET", "/alpha/v1/models", plain[1]).status_code == 200, "the table is in use")
    with httpx.Client(base_url=rig.url) as client:
        for at in range(0, 10_000, 101):
            answer = client.get("/alpha/v1/models", headers={"authorization": f"Bearer {plain[at]}"})
            assert answer.status_code == (200 if at % 2 else 401)
        assert client.get("/alpha/v1/models", headers=rig.headers("alpha")).status_code == 200
        assert client.get("/alpha/v1/models", headers=rig.headers("lyc-many-10000")).status_code == 401


def test_sha256_in_lua_is_sha256(rig: Rig, alpha: StandIn) -> None:
    """Keys of every length around the borders of the hash's blocks, and some longer ones."""
    lengths = (1, 2, 3, 31, 32, 33, *range(53, 67), *range(117, 131), 191, 192, 247, 248, 400)
    keys = {length: (f"k{length}-" * 400)[:length] for length in lengths}
    for length, key in keys.items():
        rig.entries.append(KeyEntry(hashlib.sha256(key.encode()).hexdigest(), f"long-{length}", "alpha"))
    rig.apply(alpha=[alpha.endpoint], beta=[])
    until(lambda: rig.call("GET", "/alpha/v1/models", keys[1]).status_code == 200, "the keys are known")
    with httpx.Client(base_url=rig.url) as client:
        for length, key in keys.items():
            assert client.get("/alpha/v1/models", headers=rig.headers(key)).status_code == 200, length
            assert client.get("/alpha/v1/models", headers=rig.headers(key + "~")).status_code == 401, length


def test_broken_key_check_refuses_everyone(rig: Rig, alpha: StandIn) -> None:
    """Fail closed: whatever happens to the Lua program, nobody passes without its mark."""
    path = rig.gateway.layout.files / "ecds-auth.json"
    good = path.read_text()
    for old, new in (
        ("local function check(handle)", "local function check(handle) error('broken') --"),
        (
            "function envoy_on_request(handle)",
            "function envoy_on_request(handle) error('broken') end function x(handle)",
        ),
        ("function envoy_on_request(handle)", "function nothing(handle)"),
    ):
        assert old in good
        broken = path.with_name(".broken")
        broken.write_text(good.replace(old, new))
        broken.replace(path)
        until(lambda: rig.call("GET", "/alpha/v1/models").status_code in (403, 500), "the broken program is in use")
        for key in ("alpha", "wrong", None):
            answer = rig.call("GET", "/alpha/v1/models", key)
            assert answer.status_code in (403, 500)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert rig.call("GET", "/healthz").status_code == 200
    assert alpha.seen()["requests"] == 0


def _h2_status(rig: Rig, path: str, key: str | None) -> str:
    headers = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "x"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    block = b"".join(b"\x00" + _h2_text(name) + _h2_text(value) for name, value in headers.items())
    frames = _h2_frame(4, 0, 0, b"") + _h2_frame(1, 5, 1, block)
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
        stream = connection.makefile("rb")
        while True:
            head = stream.read(9)
            payload = stream.read(int.from_bytes(head[:3], "big"))
            if head[3] == 1:  # HEADERS; the status is the first field, by index (RFC 7541, appendix A) or literal
                known = {0x88: "200", 0x89: "204", 0x8C: "400", 0x8D: "404", 0x8E: "500"}
                return known.get(payload[0]) or _h2_literal_status(payload)


def _h2_literal_status(payload: bytes) -> str:
    at = payload.index(b"\x48")  # literal with indexing, name `:status`
    huffman, length = payload[at + 1] & 0x80, payload[at + 1] & 0x7F
    raw = payload[at + 2 : at + 2 + length]
    if not huffman:
        return raw.decode()
    bits = "".join(f"{byte:08b}" for byte in raw)  # digits only: RFC 7541, appendix B
    codes = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5", "011100": "6",
             "011101": "7", "011110": "8", "011111": "9"}  # fmt: skip
    text = word = ""
    for bit in bits:
        word += bit
        if word in codes:
            text, word = text + codes[word], ""
    return text


def _h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _h2_text(value: str) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value.encode()
