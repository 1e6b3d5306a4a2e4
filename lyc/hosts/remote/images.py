"""Images of containers on a host: pulled by the Docker or Podman that is there."""

from __future__ import annotations

from collections.abc import Callable

from lyc.errors import LycError
from lyc.hosts.remote.calls import Agent


class RemoteImages:
    """Implements `lyc.ports.Images`. name: of the host, for errors."""

    def __init__(self, name: str, agent: Callable[[], Agent]) -> None:
        self._name = name
        self._agent = agent

    def provide(self, image: str, say: Callable[[str], None], *, cards: bool) -> str:
        """See the port."""
        request = {"image": image, "cards": cards}
        try:
            done = self._agent().follow("image", request=request, said=lambda line: say(str(line.get("text", ""))))
        except LycError as error:
            error.hint = error.hint.replace("NAME", self._name)
            raise
        return str(done["image"])
