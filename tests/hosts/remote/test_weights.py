"""Models onto a host through a real sshd: fetched there, or pushed; stopped, killed and damaged, and never half."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lyc.agent.blobs import RESERVE
from lyc.errors import Failed, Interrupted, LycError, NotAuthorised
from lyc.records.model import FetchRequest, Listing, ModelRef, SourceKind
from lyc.records.secret import Secret
from lyc.sources.cache import ContentCache
from lyc.sources.huggingface import HuggingFaceSource
from lyc.sources.s3 import S3Source
from tests.agent.program import noise
from tests.hosts.remote.far_store import FarStore, Wire, local, whole
from tests.hosts.ssh.conftest import a_remote, account, server, servers
from tests.hosts.ssh.server import Account, Server, awaited
from tests.hosts.ssh.test_real_hosts import Place
from tests.lab.fixtures import lab, machine, machines
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.sources import hub as hubs
from tests.sources import s3server

__all__ = ["account", "lab", "machine", "machines", "server", "servers"]
MIB = 1 << 20
RATE = 3 * MIB
IN_FLIGHT = 4 * MIB
"""Bytes on their way, at most, that a broken connection loses."""
SMALL = {"config.json": b"{}", "tokenizer.json": b'{"a": 1}'}
TOKEN = "hf_" + "thisisasecret" * 2
Files = dict[str, bytes]


@contextmanager
def a_store(account: Account, alias: str) -> Iterator[FarStore]:
    root = account.home / "host"
    with a_remote(account, alias) as remote:
        far = FarStore(remote, str(root), root, ContentCache(account.home / "cache"))
        far.install()
        yield far


@pytest.fixture
def far(account: Account, server: Server) -> Iterator[FarStore]:
    """A host on this machine."""
    del server
    with a_store(account, "box") as made:
        yield made


@pytest.fixture
def wire(account: Account, server: Server) -> Iterator[Wire]:
    """A narrow line to the host."""
    made = Wire(server.port, rate=RATE)
    account.knows("slow", made)
    yield made
    made.close()


@pytest.fixture
def slow(account: Account, wire: Wire) -> Iterator[FarStore]:
    """The host at its end."""
    del wire
    with a_store(account, "slow") as made:
        yield made


def write(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def model(account: Account) -> tuple[Path, Files]:
    files = SMALL | {f"model-{number}.safetensors": noise(2 * MIB + number, number) for number in range(1, 4)}
    return write(account.home / "model", files), files


@pytest.fixture
def big(account: Account) -> tuple[Path, Files]:
    """Takes a few seconds over the narrow line."""
    files = SMALL | {f"model-{number}.safetensors": noise(4 * MIB + number, number) for number in range(1, 5)}
    return write(account.home / "big", files), files


class Heard:
    """Progress and what is said."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.said: list[str] = []

    def progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def heard() -> Heard:
    return Heard()


# -- pushed


def test_a_folder_is_pushed_and_then_known(far: FarStore, model: tuple[Path, Files], heard: Heard) -> None:
    folder, files = model
    source, listing = local(folder)
    cache = far.cache()
    assert cache.have(listing) is None
    snapshot = cache.snapshot(source, listing, heard.progress, heard.say)
    assert whole(far, snapshot, files)
    total = sum(map(len, files.values()))
    assert heard.steps[-1] == (total, total)
    assert [done for done, _ in heard.steps] == sorted(done for done, _ in heard.steps)
    assert any(line.startswith("pushing from here") for line in heard.said)
    assert cache.have(listing) == snapshot
    assert cache.use(snapshot.digest) == snapshot.path
    assert cache.use("sha256:" + "0" * 64) is None
    assert not far.here.root.exists(), "a folder needs no copy here"
    heard.said.clear()
    began = time.monotonic()
    assert cache.snapshot(source, listing, heard.progress, heard.say).path == snapshot.path
    assert time.monotonic() - began < 5
    assert heard.said == []


def test_the_digest_is_the_one_that_the_cache_here_gives(far: FarStore, model: tuple[Path, Files]) -> None:
    source, listing = local(model[0])
    there = far.cache().snapshot(source, listing, lambda done, total: None)
    here = far.here.snapshot(source, listing, lambda done, total: None)
    assert (there.digest, there.path.name) == (here.digest, here.path.name)


def test_only_what_is_missing_is_pushed(far: FarStore, model: tuple[Path, Files], heard: Heard) -> None:
    folder, files = model
    far.cache().snapshot(*local(folder), lambda done, total: None)
    tuned = files | {"model-2.safetensors": noise(2 * MIB, 99)}
    snapshot = far.cache().snapshot(*local(write(folder.with_name("tuned"), tuned)), heard.progress)
    assert whole(far, snapshot, tuned)
    assert heard.steps[0][0] == sum(len(data) for name, data in tuned.items() if name != "model-2.safetensors")


def test_five_thousand_small_files(far: FarStore, account: Account) -> None:
    files = {f"vocab{number:04}": b"%d" % number * 300 for number in range(5000)}
    source, listing = local(write(account.home / "many", files))
    assert len(listing.files) == 5000
    began = time.monotonic()
    snapshot = far.cache().snapshot(source, listing, lambda done, total: None)
    assert time.monotonic() - began < 60
    assert whole(far, snapshot, files)


def test_files_of_the_same_content_travel_once(far: FarStore, account: Account, heard: Heard) -> None:
    files = SMALL | {"model-1.safetensors": noise(MIB), "model-2.safetensors": noise(MIB)}
    snapshot = far.cache().snapshot(*local(write(account.home / "twice", files)), heard.progress)
    assert whole(far, snapshot, files)
    assert heard.steps[-1][0] == MIB + sum(map(len, SMALL.values()))


def test_progress_that_raises_ends_it_on_both_sides(slow: FarStore, model: tuple[Path, Files]) -> None:
    def progress(done: int, total: int) -> None:
        if done > MIB:
            raise Interrupted("interrupted", "somebody pressed Ctrl-C")

    threads = threading.active_count()
    with pytest.raises(Interrupted) as error:
        slow.cache().snapshot(*local(model[0]), progress)
    assert error.value.ref == "interrupted"
    awaited(lambda: not receiving(slow), 10, "the host to have ended it")
    awaited(lambda: threading.active_count() <= threads, 10, "its threads to have ended")
    assert whole(slow, slow.cache().snapshot(*local(model[0]), lambda done, total: None), model[1])


def receiving(far: FarStore, command: str = "receive") -> list[psutil.Process]:
    """The program's processes on this host."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if f"{far.root}/agent.pyz" in words and words[-1] == command and process.pid != os.getpid():
            found.append(process)
    return found


@contextmanager
def fetching(far: FarStore, folder: Path, account: Account) -> Iterator[subprocess.Popen[str]]:
    """Another controller at it."""
    argv = [sys.executable, Path(__file__).with_name("far_store.py"), far.place(account.home / "place"), folder]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_controller_killed_at_any_byte_goes_on_there(
    slow: FarStore, model: tuple[Path, Files], account: Account, heard: Heard, wire: Wire, share: float
) -> None:
    folder, files = model
    total = sum(map(len, files.values()))
    with fetching(slow, folder, account) as process:
        awaited(lambda: slow.arrived() >= total * share and receiving(slow), 60, "its share to be there")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    awaited(lambda: not receiving(slow), 20, "the host to have noticed")
    there, before = slow.arrived(), wire.sent
    snapshot = slow.cache().snapshot(*local(folder), heard.progress)
    assert whole(slow, snapshot, files)
    assert heard.steps[0][0] >= there, "all of it counts"
    assert wire.sent - before < total - there + IN_FLIGHT
    assert not list(slow.store.glob("incoming/*"))


def test_the_program_killed_there_is_started_again_and_it_goes_on(
    slow: FarStore, big: tuple[Path, Files], heard: Heard, wire: Wire
) -> None:
    folder, files = big
    total, before = sum(map(len, files.values())), wire.sent

    def kill() -> None:
        awaited(lambda: receiving(slow), 60, "the program to run there")
        for process in receiving(slow):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    # what the line has carried counts, not the progress: that may come late where the machine is busy
    wire.at = [(before + int(total * share), kill) for share in (0.2, 0.6)]
    assert whole(slow, slow.cache().snapshot(*local(folder), heard.progress, heard.say), files)
    assert wire.at == []
    assert sum("going on" in line for line in heard.said) == 2
    assert wire.sent - before < total + 2 * IN_FLIGHT


def test_a_lost_connection_is_made_again_and_it_goes_on(
    slow: FarStore, big: tuple[Path, Files], wire: Wire, heard: Heard
) -> None:
    folder, files = big
    total, before = sum(map(len, files.values())), wire.sent

    def cut() -> None:
        awaited(lambda: receiving(slow), 60, "the program to run there")
        wire.cut()

    wire.at = [(before + int(total * share), cut) for share in (0.2, 0.6)]
    assert whole(slow, slow.cache().snapshot(*local(folder), heard.progress, heard.say), files)
    assert wire.at == []
    assert sum("going on" in line for line in heard.said) == 2
    assert [done for done, _ in heard.steps] == sorted(done for done, _ in heard.steps)
    assert wire.sent - before < total + 2 * IN_FLIGHT


def test_a_host_that_stays_away_is_given_up(slow: FarStore, model: tuple[Path, Files], wire: Wire) -> None:
    wire.at = [(wire.sent + MIB, wire.close)]
    with pytest.raises(LycError) as error:
        slow.cache(pause=lambda _: None).snapshot(*local(model[0]), lambda done, total: None)
    assert error.value.ref == "host-unreachable"


def test_two_pushes_at_once(slow: FarStore, model: tuple[Path, Files], account: Account) -> None:
    folder, files = model
    with fetching(slow, folder, account) as first, fetching(slow, folder, account) as second:
        snapshot = slow.cache().snapshot(*local(folder), lambda done, total: None)
        for process in (first, second):
            said, _ = process.communicate(timeout=120)
            assert said.splitlines()[-1] == str(snapshot.path)
    assert whole(slow, snapshot, files)
    assert not list(slow.store.glob("incoming/*"))


def test_a_file_that_changes_meanwhile_is_not_served(slow: FarStore, model: tuple[Path, Files]) -> None:
    folder, _ = model
    source, listing = local(folder)
    names = [file.path for file in listing.files if file.path.endswith(".safetensors")]

    def progress(done: int, total: int) -> None:
        for name in names:
            (folder / name).write_bytes(noise(2 * MIB, 1234))

    with pytest.raises(LycError) as error:
        slow.cache().snapshot(source, listing, progress)
    assert error.value.ref in ("source-changed", "checksum-mismatch")
    assert slow.cache().have(listing) is None


def test_a_part_that_a_power_cut_spoiled_is_sent_anew(far: FarStore, account: Account, heard: Heard) -> None:
    files = SMALL | {"model.safetensors": noise(4 * MIB)}
    source, listing = local(write(account.home / "one", files))
    digest = next(file.digest for file in listing.files if file.path == "model.safetensors")
    far.cache().have(listing)
    (far.store / "incoming" / f"{str(digest)[7:]}.part").write_bytes(bytes(MIB))
    snapshot = far.cache().snapshot(source, listing, heard.progress, heard.say)
    assert whole(far, snapshot, files)
    assert any("arrived damaged" in line for line in heard.said)


# -- fetched by the host


@pytest.fixture
def hub(model: tuple[Path, Files]) -> Iterator[hubs.Hub]:
    with hubs.Server() as running:
        running.add("acme/support", model[0])
        yield running


@pytest.fixture
def s3(model: tuple[Path, Files], account: Account) -> Iterator[s3server.Line]:
    with s3server.Server(account.home / "s3") as running:
        shutil.copytree(model[0], running.folder / "weights" / "m")
        yield running


def elsewhere(_: str) -> bool:
    """The host of these tests has the same loopback as we."""
    return True


def at_hub(hub: hubs.Hub, token: str | None = None, **more: Any) -> tuple[HuggingFaceSource, Listing]:
    source = HuggingFaceSource(endpoint=hub.url, token=Secret(token) if token else None, **more)
    return source, source.resolve(ModelRef(SourceKind.HF, "acme/support"))


def at_s3(s3: s3server.Line, kind: type[S3Source] = S3Source, **more: Any) -> tuple[S3Source, Listing]:
    keys = {"AWS_ACCESS_KEY_ID": Secret(s3server.KEY), "AWS_SECRET_ACCESS_KEY": Secret(s3server.SECRET)}
    source = kind(keys, endpoint=s3.url, **more)
    return source, source.resolve(ModelRef(SourceKind.S3, "weights/m"))


@pytest.mark.parametrize("kind", ["hub", "s3"])
def test_the_host_fetches_by_itself(
    far: FarStore, model: tuple[Path, Files], heard: Heard, kind: str, request: pytest.FixtureRequest
) -> None:
    running = request.getfixturevalue(kind)
    source, listing = (at_hub if kind == "hub" else at_s3)(running, elsewhere=elsewhere)
    cache = far.cache()
    assert cache.have(listing) is None
    snapshot = cache.snapshot(source, listing, heard.progress, heard.say)
    assert whole(far, snapshot, model[1])
    assert not far.here.root.exists(), "nothing came by here"
    assert heard.steps[-1] == (listing.size, listing.size)
    assert heard.said == []
    found = cache.have(listing)
    assert found is not None
    assert (found.digest, found.path) == (snapshot.digest, snapshot.path), "known, though its source tells no digests"


@pytest.mark.parametrize("kind", ["hub", "s3"])
def test_what_only_this_machine_reaches_is_pushed(
    far: FarStore, model: tuple[Path, Files], heard: Heard, kind: str, request: pytest.FixtureRequest
) -> None:
    running = request.getfixturevalue(kind)
    source, listing = (at_hub if kind == "hub" else at_s3)(running)
    snapshot = far.cache().snapshot(source, listing, heard.progress, heard.say)
    assert whole(far, snapshot, model[1])
    assert far.here.have(listing) is not None
    found = far.cache().have(listing)
    assert found is not None
    assert found.path == snapshot.path
    assert heard.said[0].startswith("pushing from here: the model is nowhere")


def test_a_source_that_the_host_does_not_reach_is_not_tried(
    far: FarStore, model: tuple[Path, Files], hub: hubs.Hub, heard: Heard
) -> None:
    asked: list[str] = []

    def reaches(url: str) -> bool:
        asked.append(url)
        return False

    source, listing = at_hub(hub, elsewhere=elsewhere)
    assert whole(far, far.cache(reaches).snapshot(source, listing, heard.progress, heard.say), model[1])
    assert asked == [hub.url]
    assert heard.said[0] == f"pushing from here: the host does not reach {hub.url}"


class Walled(HuggingFaceSource):
    """The hub is behind a wall for the host."""

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:
        lent = super().fetch_requests(listing, seconds=seconds) or ()
        return tuple(FetchRequest(each.path, Secret("http://127.0.0.1:1/x?secret=y"), each.headers) for each in lent)


def test_a_source_that_the_host_turns_out_not_to_reach_is_pushed(
    far: FarStore, model: tuple[Path, Files], hub: hubs.Hub, heard: Heard
) -> None:
    source = Walled(endpoint=hub.url, elsewhere=elsewhere)
    listing = source.resolve(ModelRef(SourceKind.HF, "acme/support"))
    assert whole(far, far.cache().snapshot(source, listing, heard.progress, heard.say), model[1])
    assert heard.said[0].startswith("pushing from here: the host gets no file from http://127.0.0.1:1")
    assert "secret" not in str(heard.said)


def test_a_token_shows_in_no_list_of_processes(
    far: FarStore, model: tuple[Path, Files], hub: hubs.Hub, server: Server
) -> None:
    hub.repos["acme/support"].gated = True
    hub.tokens[TOKEN] = {"acme/support"}
    hub.hold_at = MIB
    source, listing = at_hub(hub, TOKEN, elsewhere=elsewhere)
    seen: list[str] = []

    def look() -> None:
        awaited(lambda: hub.sent >= MIB and receiving(far, "pull"), 30, "it to be in the middle")
        for name in ("cmdline", "environ"):
            for path in Path("/proc").glob(f"[0-9]*/{name}"):
                try:
                    text = path.read_bytes().decode("latin-1")
                except OSError:
                    continue
                if TOKEN in text:
                    seen.append(f"{path}: {text}")
        hub.go.set()

    watcher = threading.Thread(target=look)
    watcher.start()
    snapshot = far.cache().snapshot(source, listing, lambda done, total: None)
    watcher.join()
    assert whole(far, snapshot, model[1])
    assert seen == []
    assert hub.leaks == []
    assert TOKEN not in server.log()
    for path in far.seen.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_token_that_is_no_good_there(far: FarStore, model: tuple[Path, Files], hub: hubs.Hub) -> None:
    del model
    hub.tokens[TOKEN] = {"acme/support"}
    source, listing = at_hub(hub, TOKEN, elsewhere=elsewhere)
    hub.repos["acme/support"].gated = True
    hub.tokens.clear()
    with pytest.raises(NotAuthorised) as error:
        far.cache().snapshot(source, listing, lambda done, total: None)
    assert error.value.ref == "source-denied"
    assert TOKEN not in str(error.value.document())


class Late(S3Source):
    """The first URLs that it lends are over before they are used."""

    lent = 0

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:
        self.lent += 1
        found = super().fetch_requests(listing, seconds=1 if self.lent == 1 else seconds)
        made = time.time()
        if self.lent == 1:
            awaited(lambda: time.time() > made + 2, 5, "them to run out")
        return found


def test_urls_that_ran_out_are_lent_anew(
    far: FarStore, model: tuple[Path, Files], s3: s3server.Line, heard: Heard
) -> None:
    source, listing = at_s3(s3, Late, elsewhere=elsewhere)
    assert whole(far, far.cache().snapshot(source, listing, heard.progress, heard.say), model[1])
    assert isinstance(source, Late)
    assert source.lent == 2
    assert not any(line.startswith("pushing") for line in heard.said)


def test_a_pull_survives_the_connection_over_which_it_was_asked_for(
    far: FarStore, model: tuple[Path, Files], hub: hubs.Hub, server: Server, heard: Heard
) -> None:
    source, listing = at_hub(hub, elsewhere=elsewhere)
    hub.hold_at = 3 * MIB
    cut = []

    def progress(done: int, total: int) -> None:
        heard.progress(done, total)
        if done > 2 * MIB and not cut:
            cut.append(done)
            server.stop(connections=True)
            server.start()
            hub.go.set()

    assert whole(far, far.cache().snapshot(source, listing, progress, heard.say), model[1])
    assert cut
    assert any("was lost" in line for line in heard.said)
    assert hub.sent < listing.size + MIB


def test_a_pull_that_is_stopped_ends_there_too(far: FarStore, model: tuple[Path, Files], hub: hubs.Hub) -> None:
    del model
    source, listing = at_hub(hub, elsewhere=elsewhere)
    hub.hold_at = 3 * MIB

    def progress(done: int, total: int) -> None:
        if done > MIB:
            raise Interrupted("interrupted", "somebody pressed Ctrl-C")

    with pytest.raises(Interrupted):
        far.cache().snapshot(source, listing, progress)
    awaited(lambda: not receiving(far, "pull"), 10, "the host to have ended it")


# -- whole machines of the lab


@pytest.fixture
def box(lab: Lab, machine: Machine) -> Iterator[FarStore]:
    """A machine of its own, with systemd and Debian's Python."""
    folder = Path(tempfile.mkdtemp(prefix="lyc-lab-"))
    place = Place(lab, folder)
    place.knows("gpu1", machine)
    remote = place.pinned("gpu1")
    seen = machine.root / "var/lib/lyc"
    far = FarStore(remote, "/var/lib/lyc", seen, ContentCache(folder / "cache"), python="/usr/bin/python3")
    try:
        far.install()
        yield far
    finally:
        remote.close()
        remote.run(["rm", "-rf", "/var/lib/lyc"])
        remote.close()
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_link_that_is_cut_for_a_while(box: FarStore, machine: Machine, big: tuple[Path, Files], heard: Heard) -> None:
    """Nobody says that it is cut: neither side hears a word, and the program there holds a part."""
    folder, files = big
    cuts: list[threading.Timer] = []
    machine.shape(kbit=40_000)

    def progress(done: int, total: int) -> None:
        heard.progress(done, total)
        if done > 4 * MIB and not cuts:
            machine.cut()
            cuts.append(threading.Timer(20, machine.join))
            cuts[0].start()

    snapshot = box.cache().snapshot(*local(folder), progress, heard.say)
    cuts[0].join()
    assert whole(box, snapshot, files)
    assert any("going on" in line for line in heard.said)
    assert not list(box.store.glob("incoming/*"))


@pytest.mark.slow
def test_a_disk_that_fills_up_there_while_it_is_pushed(
    box: FarStore, machine: Machine, big: tuple[Path, Files]
) -> None:
    folder, files = big
    machine.shape(kbit=80_000)

    def progress(done: int, total: int) -> None:
        if done > 2 * MIB:
            machine.fill()

    source, listing = local(folder)
    with pytest.raises(Failed) as error:
        box.cache().snapshot(source, listing, progress)
    assert error.value.ref == "no-space"
    assert "free" in error.value.why
    with pytest.raises(Failed) as error:
        box.cache().snapshot(source, listing, lambda done, total: None)
    assert error.value.ref == "no-space"
    assert f"{RESERVE >> 20} MiB of reserve needed" in error.value.why
    assert box.cache().have(listing) is None
    machine.unfill()
    machine.shape()
    assert whole(box, box.cache().snapshot(source, listing, lambda done, total: None), files)


@pytest.mark.slow
def test_a_host_without_a_way_to_the_hub(box: FarStore, hub: hubs.Hub, model: tuple[Path, Files], heard: Heard) -> None:
    """The hub is on the loopback of this machine, which a host of the lab does not reach, whatever it is told."""
    source, listing = at_hub(hub, elsewhere=elsewhere)
    snapshot = box.cache().snapshot(source, listing, heard.progress, heard.say)
    assert whole(box, snapshot, model[1])
    assert heard.said[0].startswith(f"pushing from here: the host gets no file from {hub.url}")
