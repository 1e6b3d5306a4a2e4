"""How many replicas have had a request, as far as the activator can know: it sees it only between two of them."""

from __future__ import annotations

REMEMBERED = 20_000


class Tries:
    """Remembers the last requests, by the name that the gateway gave them."""

    def __init__(self, longest: int = REMEMBERED) -> None:
        self._longest = longest
        self._seen: dict[str, tuple[int, int]] = {}

    def knows(self, request: str) -> bool:
        return request in self._seen

    def seen(self, request: str, attempt: int) -> int:
        """The replicas that have had it so far. attempt: which of the gateway's tries this is, from 1.

        One that was handed back and is here again at the very next try has met no replica: a worker of Envoy's had not
        heard of it yet. Otherwise one is counted, though there may have been more while no activator listened.
        """
        tries, last = self._seen.pop(request, (0, 0))
        tries += attempt > last + 1
        self._seen[request] = (tries, attempt)
        if len(self._seen) > self._longest:
            del self._seen[next(iter(self._seen))]
        return tries
