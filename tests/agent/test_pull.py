"""A host that fetches by itself, from a real hub's stand-in and a real S3 server: resumed, guarded, and discreet."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lyc.ports import Source
from lyc.records.model import Listing, ModelRef, SourceKind
from lyc.records.secret import Secret
from lyc.sources.huggingface import HuggingFaceSource
from lyc.sources.s3 import S3Source
from tests.agent.program import Document, Heard, Program, Refusal, digest_of, noise, until
from tests.sources import hub as hubs
from tests.sources import s3server

SIZE = 3_000_000
NAME = "acme/support"
TOKEN = "hf_" + "thisisasecret" * 2
SMALL = {"config.json": b'{"a": 1}', "tokenizer.json": b"{}"}
PIECE = 1 << 17
"""Bytes on the way between a server and a part, at most, that are lost with a killed process."""
anywhere: Callable[[str], bool] = lambda _: True  # noqa: E731 (a value)


@pytest.fixture
def hub() -> Iterator[hubs.Hub]:
    with hubs.Server() as running:
        yield running


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[s3server.Line]:
    with s3server.Server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "host")


@pytest.fixture
def model(tmp_path: Path) -> dict[str, bytes]:
    """Files of a model, in `model` too."""
    files = SMALL | {f"model-{number}.safetensors": noise(SIZE, number) for number in (1, 2)}
    (tmp_path / "model").mkdir()
    for name, data in files.items():
        (tmp_path / "model" / name).write_bytes(data)
    return files


def at_hub(hub: hubs.Hub, token: str | None = None) -> tuple[HuggingFaceSource, Listing]:
    source = HuggingFaceSource(endpoint=hub.url, token=Secret(token) if token else None, elsewhere=anywhere)
    return source, source.resolve(ModelRef(SourceKind.HF, NAME))


def at_s3(s3: s3server.Line, files: dict[str, bytes]) -> tuple[S3Source, Listing]:
    (s3.folder / "weights" / "m").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (s3.folder / "weights" / "m" / name).write_bytes(data)
    keys = {"AWS_ACCESS_KEY_ID": Secret(s3server.KEY), "AWS_SECRET_ACCESS_KEY": Secret(s3server.SECRET)}
    source = S3Source(keys, endpoint=s3.url, elsewhere=anywhere)
    return source, source.resolve(ModelRef(SourceKind.S3, "weights/m"))


def asked(source: Source, listing: Listing, *, seconds: float = 600.0, **more: object) -> Document:
    """The request, as the controller makes it."""
    lent = source.fetch_requests(listing, seconds=seconds)
    assert lent is not None
    files = {file.path: file for file in listing.files}
    rows = [
        {
            "path": each.path, "size": files[each.path].size, "digest": files[each.path].digest,
            "url": each.url.reveal(), "headers": {name: value.reveal() for name, value in each.headers.items()},
            "key": each.path, "git_blob": each.git_blob,
        }
        for each in lent
    ]  # fmt: skip
    return {"files": rows, **more}


def encoded(request: Document) -> bytes:
    return json.dumps(request).encode()


def begun(program: Program, request: Document) -> subprocess.Popen[bytes]:
    """A pull that has its request."""
    process = program.start("pull")
    assert process.stdin
    with process.stdin as stdin:
        stdin.write(encoded(request))
    process.stdin = None
    return process


def pulled(program: Program, request: Document) -> dict[str, str]:
    """Path → digest."""
    return {each["path"]: each["digest"] for each in program.call("pull", request)["files"]}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {path: digest_of(data) for path, data in files.items()}


def spans(ranges: list[str | None]) -> int:
    """Bytes that were asked for."""
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", text or "") for text in ranges]
    return sum(int(span[2]) - int(span[1]) + 1 for span in found if span)


def of_weights(hub: hubs.Hub, since: int = 0) -> list[str | None]:
    return [span for _, path, span in hub.requests[since:] if path.startswith("/cdn/")]


def test_from_a_hub(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, tmp_path / "model")
    lines = program.ended(program.start("pull"), encoded(asked(*at_hub(hub))))
    assert {each["path"]: each["digest"] for each in lines[-1]["files"]} == digests(model)
    total = sum(map(len, model.values()))
    assert lines[-2] == {"t": "progress", "done": total, "total": total}
    for data in model.values():
        assert program.blob(data).read_bytes() == data
    assert not list((program.store / "incoming").iterdir())
    before = len(hub.requests)
    assert pulled(program, asked(*at_hub(hub))) == digests(model)
    assert not any("/resolve/" in path for _, path, _ in hub.requests[before:]), "what is here is not asked for again"


def test_from_s3(s3: s3server.Line, program: Program, model: dict[str, bytes]) -> None:
    request = asked(*at_s3(s3, model))
    assert pulled(program, request) == digests(model)
    before = len(s3.gets)
    assert pulled(program, request) == digests(model)
    assert len(s3.gets) == before


def test_a_token_is_seen_by_the_hub_alone(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, tmp_path / "model", gated=True)
    hub.tokens[TOKEN] = {NAME}
    hub.hold_at = SIZE // 2
    process = begun(program, asked(*at_hub(hub, TOKEN)))
    until(lambda: hub.sent >= SIZE // 2, "it to be in the middle")
    for name in ("cmdline", "environ"):
        assert TOKEN not in Path(f"/proc/{process.pid}/{name}").read_bytes().decode("latin-1")
    hub.go.set()
    heard = Heard(process).all()
    assert {each["path"]: each["digest"] for each in heard[-1]["files"]} == digests(model)
    assert TOKEN not in str(heard)
    assert process.stderr
    assert process.stderr.read() == b""
    process.wait(10)
    assert hub.leaks == [], "the CDN is another server"
    on_disk = b"".join(path.read_bytes() for path in program.root.rglob("*") if path.is_file())
    assert TOKEN.encode() not in on_disk


@pytest.mark.parametrize("token", [None, TOKEN, "hf_unknown"])
def test_who_may_not_read_is_told_so(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path, token: str | None
) -> None:
    """The listing was made by somebody who may, for the error is to come from the host."""
    del model
    hub.add(NAME, tmp_path / "model", gated=True)
    hub.tokens = {TOKEN: set(), "hf_good": {NAME}}
    request = asked(*at_hub(hub, "hf_good"))
    for each in request["files"]:
        each["headers"] = {"Authorization": f"Bearer {token}"} if token else {}
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert (refused.value.ref, refused.value.kind) == ("source-denied", "NotAuthorised")
    assert "hf_" not in str(refused.value)
    assert hub.url in str(refused.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.99])
def test_killed_at_any_byte_it_goes_on_there(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path, share: float
) -> None:
    hub.add(NAME, tmp_path / "model")
    hub.hold_at = int(2 * SIZE * share)
    request = asked(*at_hub(hub))
    process = begun(program, request)

    def there() -> int:
        weights = [data for name, data in model.items() if name.endswith(".safetensors")]
        return sum(len(data) if program.blob(data).exists() else program.arrived(data) for data in weights)

    until(lambda: hub.sent >= hub.hold_at and there() >= hub.hold_at - 2 * PIECE, "its share to be there")
    process.kill()
    process.communicate()
    kept, mark = there(), len(hub.requests)
    hub.go.set()
    assert pulled(program, request) == digests(model)
    assert spans(of_weights(hub, mark)) == pytest.approx(2 * SIZE - kept, abs=1)
    for data in model.values():
        assert program.blob(data).read_bytes() == data


def test_a_connection_that_breaks_is_taken_up_again(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, tmp_path / "model")
    hub.cut_after = 1_000_000
    assert pulled(program, asked(*at_hub(hub))) == digests(model)
    starts = sorted(int(str(span)[6:].partition("-")[0]) for span in of_weights(hub))
    assert len(starts) >= 6
    assert starts[-1] >= 1_900_000


def test_s3_is_taken_up_again_too(s3: s3server.Line, program: Program, model: dict[str, bytes]) -> None:
    """Without digests: the entity tag is what makes it the same file."""
    request = asked(*at_s3(s3, model))
    s3.cut_after = 1_000_000
    assert pulled(program, request) == digests(model)
    assert spans([span for path, span in s3.gets if "safetensors?" in path]) < 4 * SIZE


def test_a_server_without_ranges(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, tmp_path / "model")
    data = model["model-1.safetensors"]
    program.missing(data)
    program.part(data).write_bytes(data[:1_234_567])
    hub.ranges = False
    assert pulled(program, asked(*at_hub(hub))) == digests(model)


def test_a_busy_server_is_asked_again(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    hub.failing = 4
    assert pulled(program, request) == digests(model)


def test_wrong_bytes_are_thrown_away(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    request["files"] = [each for each in request["files"] if each["path"] == "model-1.safetensors"]
    hub.damage = True
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "checksum-mismatch"
    assert not program.part(model["model-1.safetensors"]).exists()
    assert not list((program.store / "blobs" / "sha256").iterdir())


def test_small_files_are_held_against_their_git_blob(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    """The hub knows no SHA-256 of them."""
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    request["files"] = [each for each in request["files"] if each["path"] in SMALL]
    assert all(each["digest"] is None and len(each["git_blob"]) == 40 for each in request["files"])
    hub.damage = True
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "checksum-mismatch"
    hub.damage = False
    assert pulled(program, request) == digests({name: model[name] for name in SMALL})


def test_a_part_that_a_power_cut_spoiled_comes_anew(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, tmp_path / "model")
    data = model["model-1.safetensors"]
    program.missing(data)
    program.part(data).write_bytes(bytes(1_000_000))
    assert pulled(program, asked(*at_hub(hub))) == digests(model)


def test_an_object_that_was_written_anew_is_not_mixed(
    s3: s3server.Line, program: Program, model: dict[str, bytes]
) -> None:
    request = asked(*at_s3(s3, model))
    (s3.folder / "weights" / "m" / "model-1.safetensors").write_bytes(noise(SIZE, 9))
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "source-changed"
    assert "Signature" not in str(refused.value)


def test_a_lent_url_that_ran_out(s3: s3server.Line, program: Program, model: dict[str, bytes]) -> None:
    request = asked(*at_s3(s3, model), seconds=1)
    made = time.time()
    until(lambda: time.time() > made + 2, "it to run out")
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "fetch-expired"
    assert "Signature" not in str(refused.value)


def test_a_source_that_is_not_there_is_found_out_soon(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    del model
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    for each in request["files"]:
        each["url"] = each["url"].replace(hub.url, "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert (refused.value.ref, refused.value.kind) == ("source-unreachable", "Unreachable")
    assert time.monotonic() - began < 10


def test_a_page_that_wants_a_login_is_no_model(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    del model
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    hub.html = True
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert (refused.value.ref, refused.value.kind) == ("source-unreachable", "Unreachable")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://", "", 5, "http://[x", "http://a:b/"])
def test_only_the_web_is_asked(program: Program, url: object) -> None:
    row = {"path": "x", "size": 1, "digest": None, "key": "x", "url": url, "headers": {}}
    with pytest.raises(Refusal) as refused:
        program.call("pull", {"files": [row]})
    assert refused.value.ref in ("bad-request", "source-unreachable")


def test_a_header_that_cannot_be_sent_is_not_shown(program: Program) -> None:
    row = {"path": "x", "size": 1, "digest": None, "key": "x", "url": "http://127.0.0.1:1/"}
    with pytest.raises(Refusal) as refused:
        program.call("pull", {"files": [row | {"headers": {"Authorization": "Bearer hf_secret\nX: y"}}]})
    assert refused.value.ref in ("bad-request", "source-unreachable")
    assert "secret" not in str(refused.value)


def test_two_pulls_at_once_fetch_once(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    hub.hold_at = SIZE
    both = [begun(program, request) for _ in range(2)]
    heard = [Heard(process) for process in both]
    until(lambda: all(any(line.get("done", 0) > SIZE // 2 for line in each.lines) for each in heard), "both to see it")
    hub.go.set()
    for each in heard:
        assert {row["path"]: row["digest"] for row in each.all()[-1]["files"]} == digests(model)
    assert spans(of_weights(hub)) == 2 * SIZE
    for process in both:
        process.communicate()


def test_it_ends_when_nobody_listens_any_more(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    """As behind sudo, where no signal reaches it."""
    del model
    hub.add(NAME, tmp_path / "model")
    hub.hold_at = SIZE
    process = begun(program, asked(*at_hub(hub)))
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 1


def test_a_disk_that_is_too_small_is_known_before(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path
) -> None:
    del model
    hub.add(NAME, tmp_path / "model")
    request = asked(*at_hub(hub))
    request["files"][0]["size"] = 1 << 60
    before = len(hub.requests)
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "no-space"
    assert "109951162" in str(refused.value)
    assert len(hub.requests) == before


# -- proxies, certificates, redirects


class Passing(BaseHTTPRequestHandler):
    """A proxy for plain HTTP, or (`target`) a server that passes on, or (`moved`) one that points elsewhere."""

    seen: list[tuple[str, dict[str, str]]]
    target: str | None = None
    moved: str | None = None

    def do_GET(self) -> None:
        self.seen.append((self.path, dict(self.headers.items())))
        if self.moved:
            self.send_response(302)
            self.send_header("Location", self.moved + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        url = urlsplit((self.target or "") + self.path)
        connection = HTTPConnection(str(url.hostname), url.port or 80)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request("GET", url.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def passing() -> Iterator[Callable[..., tuple[str, list[tuple[str, dict[str, str]]]]]]:
    """Makes servers of `Passing`: their URL, and what they have seen."""
    servers = []

    def make(tls: ssl.SSLContext | None = None, **settings: str) -> tuple[str, list[tuple[str, dict[str, str]]]]:
        seen: list[tuple[str, dict[str, str]]] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Passing,), {"seen": seen, **settings}))
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
        return f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", seen

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS for 127.0.0.1, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=tests", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key",
         "-out", folder / "cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context, (folder / "cert").read_text()


def test_by_a_proxy(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path, passing: Any) -> None:
    hub.add(NAME, tmp_path / "model")
    url, seen = passing()
    proxy = url.replace("http://", "http://user:pass-word@")
    assert pulled(program, asked(*at_hub(hub), proxy=proxy)) == digests(model)
    assert all(path.startswith("http://") for path, _ in seen)
    assert all(headers["Proxy-Authorization"].startswith("Basic ") for _, headers in seen)
    assert len(seen) >= len(model)


def test_a_proxy_that_is_not_there(hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path) -> None:
    del model
    hub.add(NAME, tmp_path / "model")
    with pytest.raises(Refusal) as refused:
        program.call("pull", asked(*at_hub(hub), proxy="http://user:pass-word@127.0.0.1:1"))
    assert refused.value.ref == "source-unreachable"
    assert "pass-word" not in str(refused.value)


def test_an_authority_of_ones_own(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path, passing: Any, authority: Any
) -> None:
    hub.add(NAME, tmp_path / "model")
    context, certificate = authority
    url, _ = passing(context, target=hub.url)
    request = asked(*at_hub(hub))
    for each in request["files"]:
        each["url"] = url + urlsplit(each["url"]).path
    request["files"] = [each for each in request["files"] if each["path"] in SMALL]
    with pytest.raises(Refusal) as refused:
        program.call("pull", request)
    assert refused.value.ref == "source-unreachable"
    assert "its certificate is not trusted" in str(refused.value)
    assert pulled(program, request | {"ca": certificate}) == digests({name: model[name] for name in SMALL})


def test_another_server_gets_nothing_that_was_meant_for_the_first(
    hub: hubs.Hub, program: Program, model: dict[str, bytes], tmp_path: Path, passing: Any
) -> None:
    hub.add(NAME, tmp_path / "model")
    end, seen = passing(target=hub.url)
    first, _ = passing(moved=end)
    request = asked(*at_hub(hub))
    request["files"] = [each for each in request["files"] if each["path"] == "config.json"]
    request["files"][0]["url"] = first + urlsplit(request["files"][0]["url"]).path
    request["files"][0]["headers"] = {"Authorization": "Bearer secret", "Cookie": "secret", "X-Own": "secret"}
    assert pulled(program, request) == digests({"config.json": model["config.json"]})
    assert seen[0][1]["Range"] == f"bytes=0-{len(model['config.json']) - 1}"
    assert "secret" not in str(seen)


@pytest.mark.parametrize("where", ["file:///etc", "ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_where_a_redirect_may_not_lead(program: Program, passing: Any, authority: Any, where: str) -> None:
    """From https neither down to http, nor ever to another kind of address."""
    context, certificate = authority
    url, _ = passing(context, moved=where)
    row = {"path": "x", "size": 1, "digest": None, "key": "x", "url": f"{url}/x", "headers": {}}
    with pytest.raises(Refusal) as refused:
        program.call("pull", {"files": [row], "ca": certificate})
    assert refused.value.ref == "source-unreachable"
    assert "it answered 302" in str(refused.value)
