"""Files to and from a host: the scripts that run there, and the content as it is sent. The content goes by stdin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lyc.errors import Failed

CHUNK = 1 << 20
PUT = r"""
path=$1 mode=$2 first=$3 size=$4 sum=$5
case $path in */*) folder=${path%/*}/ ;; *) folder=./ ;; esac
name=${path##*/}
umask 077
find "$folder" -maxdepth 1 -type f -name ".$name.lyc-????????" -mmin +1440 -exec rm -f {} + 2>/dev/null
fresh=$(mktemp "$folder.$name.lyc-XXXXXXXX") || exit 71
trap 'rm -f -- "$fresh"' EXIT
trap 'exit 75' HUP INT TERM PIPE
chmod "$first" "$fresh" || exit 71
got=$(tee "$fresh" | sha256sum) || exit 71
[ "$(wc -c <"$fresh")" -eq "$size" ] || exit 72
[ "${got%% *}" = "$sum" ] || exit 73
chmod "$mode" "$fresh" || exit 71
sync "$fresh" 2>/dev/null || sync
mv -fT -- "$fresh" "$path" || exit 71
trap - EXIT
"""
"""$1 path, $2 mode in octal, $3 the same and writable by its owner, which it has before the first byte comes (mktemp
makes it 0600), $4 bytes, $5 SHA-256. 71: a tool failed and said why; 72: too few bytes were kept; 73: other
bytes; 75: ended. What a power cut left of an earlier put goes after a day.
"""
GET = r"""
[ -e "$1" ] || { [ -L "$1" ] || exit 66; }
[ -d "$1" ] && exit 67
head -c "$2" <"$1"
"""
"""$1 path, $2 most bytes. 66: no such file; 67: a folder."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to send, known before they are sent."""

    data: bytes | Path
    size: int
    sha256: str

    def chunks(self) -> Iterable[bytes]:
        """The bytes, from the start each time."""
        return (self.data,) if isinstance(self.data, bytes) else _read(self.data)


def content(data: bytes | Path) -> Content:
    """Size and digest. Raises Failed `no-such-file` or `unreadable-file`."""
    if isinstance(data, bytes):
        return Content(data, len(data), hashlib.sha256(data).hexdigest())
    try:
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Content(data, file.tell(), digest)
    except FileNotFoundError as error:
        raise Failed("no-such-file", f"there is no file {data}") from error
    except OSError as error:
        raise Failed("unreadable-file", f"{data} cannot be read", why=error.strerror or "") from error


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
