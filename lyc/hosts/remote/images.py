"""Images of containers on a host: pulled by the Docker or Podman that is there."""

from __future__ import annotations

from collections.abc import Callable

from lyc.hosts.remote.calls import Agent


class RemoteImages:
    """Implements `lyc.ports.Images`."""

    def __init__(self, agent: Callable[[], Agent]) -> None:
        self._agent = agent

    def provide(self, image: str, say: Callable[[str], None], *, cards: bool) -> str:
        """See the port."""
        request = {"image": image, "cards": cards}
        done = self._agent().follow("image", request=request, said=lambda line: say(str(line.get("text", ""))))
        return str(done["image"])
