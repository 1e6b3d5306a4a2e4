"""A string that never shows itself: masked in repr, str, f-strings and tracebacks."""

from __future__ import annotations

from typing import final

MASK = "********"


@final
class Secret:
    """Holds a secret; `reveal()` is the only way out, so every leak has a name that can be searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Never pass the result to a log, an error text or an argv."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)
