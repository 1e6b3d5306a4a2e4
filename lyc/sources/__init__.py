"""Where weights come from, and the content-addressed cache in which they all end.

open        ModelRef → Source: the one place that knows all sources
ahead       the bytes that inspection asks for, read ahead or out of the cache
local, huggingface, s3, sample    one Source each
select      which files of a model serving needs (pure)
cache       ContentCache: blobs by SHA-256, snapshots of links to them
blobs       one file into the cache: lock, resume, verify, rename
elsewhere   whether an address means the same server on another machine
sink        hashes what arrives
meter       many files' progress as one
manifest    the identity of a snapshot (pure)
disk        what the file system can do, and its errors in lyc's words
hashes      SHA-256 of local files, remembered by inode and time
"""

from lyc.sources.ahead import reader
from lyc.sources.open import open_source

__all__ = ["open_source", "reader"]
