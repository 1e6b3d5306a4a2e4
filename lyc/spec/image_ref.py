"""A container image as its user writes it: `vllm/vllm-openai:v0.32.0`, or with a digest.

A release is to stay what it is, so a tag or a digest must be there.
"""

from __future__ import annotations

import re

from lyc.errors import SpecError

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}(?::\d{{1,5}})?/)?{_PART}(?:/{_PART})*"
_DIGEST = r"sha256:[0-9a-f]{64}"
_IMAGE = re.compile(rf"(?P<name>{_NAME})(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII)
"""The grammar of github.com/distribution/reference, with sha256 as the one digest."""
_LONGEST = 512


def check_image(text: str, *, where: str = "--image") -> str:
    """The reference itself if it is one and says which image for good. Raises SpecError `invalid-image`."""
    match = _IMAGE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise SpecError(
            "invalid-image",
            f"{text[:80]!r} is no reference of a container image",
            why=_why(text),
            where=where,
            hint="write it like vllm/vllm-openai:v0.32.0, or registry.example.eu:5000/team/engine@sha256:…",
        )
    if not match["tag"] and not match["digest"]:
        raise SpecError(
            "invalid-image",
            f"{text!r} does not say which image of that name",
            why="without a tag or a digest it would be whatever is the latest on the day of a restart",
            where=where,
            hint=f"{text}:TAG, or {text}@sha256:…",
        )
    return text


def _why(text: str) -> str:
    name, at, digest = text.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        return "a digest is sha256: and 64 hexadecimal digits"
    if "://" in text:
        return "it is not an address: no scheme stands in front"
    if name != name.lower() and _IMAGE.fullmatch(name.lower()[:_LONGEST]):
        return "the name is in small letters"
    return "it is [REGISTRY/]NAME:TAG"
