"""Files to and from a host: the scripts that run there, and the content as it is sent. The content goes by stdin."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lyc.errors import Failed

CHUNK = 1 << 20
PUT = r"""
path=$1 mode=$2 first=$3 size=$4
case $path in */*) folder=${path%/*}/ ;; *) folder=./ ;; esac
name=${path##*/}
umask 077
find "$folder" -maxdepth 1 -type f -name ".$name.lyc-????????" -mmin +1440 -exec rm -f {} + 2>/dev/null
fresh=$(mktemp "$folder.$name.lyc-XXXXXXXX") || exit 71
trap 'rm -f -- "$fresh"' EXIT
trap 'exit 75' HUP INT TERM PIPE
chmod "$first" "$fresh" || exit 71
digest=sha256sum
command -v openssl >/dev/null 2>&1 && digest='openssl dgst -sha256 -r'
cat >"$fresh" || exit 71
[ "$(wc -c <"$fresh")" -eq "$((size + 64))" ] || exit 72
sum=$(tail -c 64 "$fresh") && truncate -s "$size" "$fresh" || exit 71
got=$($digest <"$fresh") || exit 71
[ "${got%% *}" = "$sum" ] || exit 73
chmod "$mode" "$fresh" || exit 71
sync "$fresh" 2>/dev/null || sync
mv -fT -- "$fresh" "$path" || exit 71
trap - EXIT
"""
"""$1 path, $2 mode in octal, $3 the same and writable by its owner, which it has before the first byte comes (mktemp
makes it 0600), $4 bytes; on stdin the content and then its SHA-256 in hex, which so is worked out while it is sent.
71: a tool failed and said why; 72: too few bytes were kept; 73: other bytes; 75: ended. What a power cut left of an
earlier put goes after a day. openssl is five times as fast as coreutils where the processor can do SHA-256.
"""
GET = r"""
[ -e "$1" ] || { [ -L "$1" ] || exit 66; }
[ -d "$1" ] && exit 67
head -c "$2" <"$1"
"""
"""$1 path, $2 most bytes. 66: no such file; 67: a folder."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to send, of a size known before. Where a file shrinks meanwhile, the far side finds too few."""

    data: bytes | Path
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the start each time, and their SHA-256 in 64 hex digits."""
        digest = hashlib.sha256()
        for chunk in (self.data,) if isinstance(self.data, bytes) else _read(self.data, self.size):
            digest.update(chunk)
            yield chunk
        yield digest.hexdigest().encode()


def content(data: bytes | Path) -> Content:
    """What to send. Raises Failed `no-such-file` or `unreadable-file`."""
    if isinstance(data, bytes):
        return Content(data, len(data))
    try:
        with data.open("rb") as file:
            return Content(data, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise Failed("no-such-file", f"there is no file {data}") from error
    except OSError as error:
        raise Failed("unreadable-file", f"{data} cannot be read", why=error.strerror or "") from error


def _read(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            yield chunk
