"""How many replicas have had a request, as far as the activator can know: it sees it only between two of them."""

from __future__ import annotations

REMEMBERED = 20_000


class Tries:
    """Remembers the last requests, by the name that the gateway gave them."""

    def __init__(self, longest: int = REMEMBERED) -> None:
        self._longest = longest
        self._tries: dict[str, int] = {}

    def knows(self, request: str) -> bool:
        return request in self._tries

    def seen(self, request: str, *, first: bool) -> int:
        """The count so far. first: the gateway has tried nobody before; otherwise somebody was lost."""
        return self._note(request, self._tries.get(request, 0 if first else 1))

    def handed_back(self, request: str) -> None:
        """It goes to a replica now."""
        self._note(request, self._tries.get(request, 0) + 1)

    def _note(self, request: str, tries: int) -> int:
        self._tries.pop(request, None)
        self._tries[request] = tries
        if len(self._tries) > self._longest:
            del self._tries[next(iter(self._tries))]
        return tries
