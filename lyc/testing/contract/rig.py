"""What the contract suite of providers runs on: a provider, the fake cloud that it speaks to, and how to disturb it."""

from __future__ import annotations

import base64
import contextlib
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lyc.errors import LycError
from lyc.ports import Provider, ProviderKind
from lyc.records.rental import Machine, MachineState, Offer, Order
from lyc.testing.clouds.core import Call, Cloud, FakeMachine
from lyc.testing.clouds.faults import Faults

OWNER, OTHER = "0a1b2c3d", "99999999"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdXGzVRz9B8AHGyqLSUOhh4AXr1eJ7sWnjR0C3y9bXk lyc"
LOOKS = 20
"""How often a machine is looked at until it is where a test waits for it: each look is a step of the fake's time."""


class _NothingRaised(AssertionError):
    pass


class Connect(Protocol):
    """Opens the provider on the fake cloud as `ProviderKind.open` would, but without waiting between tries."""

    def __call__(self, *, expired: bool = False, timeout: float | None = None) -> Provider:
        """expired: with a credential that the cloud does not accept. timeout: seconds for any answer, create too."""
        ...


@dataclass(slots=True)
class Rig:
    """One provider on its fake.

    secrets: texts that must never show: every credential that `connect` hands out, the expired one too. litter: lays
    down what may stay behind of a run id, each kind that the provider has, with no machine; returns how many things
    `leftovers` must tell. litter_foreign: the same of somebody else, ids that must still be there afterwards (in
    `Cloud.things`). unsold: an offer that the cloud does not have; None = the first one with an id turned around.
    missing: an id of a machine that is not there, in the form of this provider's. check: what is wrong with a request
    by the published schema, empty = nothing. limit_of: seconds after which the cloud would end a machine by itself.
    """

    kind: ProviderKind
    connect: Connect
    cloud: Cloud
    faults: Faults
    secrets: Sequence[str]
    litter: Callable[[str], int] = lambda _run_id: 0
    litter_foreign: Callable[[], Sequence[str]] = tuple
    unsold: Offer | None = None
    missing: str = "00000000-0000-4000-8000-000000000000"
    check: Callable[[Call], Sequence[str]] = lambda _call: ()
    limit_of: Callable[[FakeMachine], float | None] = lambda _machine: None
    provider: Provider = field(init=False)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.provider = self.connect()

    def order(self, offer: Offer | None = None, run_id: str | None = None) -> Order:
        """One machine of the first offer in stock, of a run id that was not used before."""
        self._runs += 1
        chosen = offer or next(one for one in self.provider.offers() if one.stock != 0)
        return Order(run_id or f"{OWNER}-{self._runs:08x}", chosen, PUBLIC_KEY)

    def not_sold(self) -> Offer:
        if self.unsold is not None:
            return self.unsold
        offer = self.provider.offers()[0]
        return replace(offer, id=offer.id[::-1])

    def until(self, identity: str, state: MachineState) -> Machine:
        """The machine, once it is in that state; AssertionError when it does not get there."""
        seen: Machine | None = None
        for _ in range(LOOKS):
            seen = self.provider.get(identity)
            if seen is not None and seen.state is state and (state is not MachineState.RUNNING or seen.address):
                return seen
        raise AssertionError(f"not {state} after {LOOKS} looks: {seen}")

    def until_gone(self, identity: str) -> None:
        for _ in range(LOOKS):
            if self.provider.get(identity) is None:
                return
        raise AssertionError(f"not gone after {LOOKS} looks: {self.provider.get(identity)}")

    def sent(self, text: str) -> bool:
        """Whether a text has gone to the provider, as it is or in base64."""
        forms = (text, json.dumps(text)[1:-1], base64.b64encode(text.encode()).decode())
        bodies = [call.body if isinstance(call.body, str) else json.dumps(call.body) for call in self.cloud.calls]
        return any(form in body or json.dumps(form)[1:-1] in body for form in forms for body in bodies)

    @contextlib.contextmanager
    def fails(self, kind: type[LycError], *refs: str) -> Iterator[None]:
        """Expects an error of the port, and that it holds no secret, wherever one may look at it."""
        try:
            yield
        except LycError as error:
            self.no_secret("".join(traceback.format_exception(error)), repr(error), json.dumps(error.document()))
            told = f"{type(error).__name__} {error.ref}: {error.document()}"
            if not isinstance(error, kind) or (refs and error.ref not in refs):
                raise AssertionError(f"not {kind.__name__} {' or '.join(refs)} but {told}") from error
        else:
            raise _NothingRaised(f"no {kind.__name__} {' or '.join(refs)} was raised")

    @contextlib.contextmanager
    def may_fail(self) -> Iterator[None]:
        """Lets an error of the port pass, if it holds no secret."""
        with contextlib.suppress(_NothingRaised), self.fails(LycError):
            yield

    def verdict(self, log: str) -> None:
        """AssertionError for what no test may leave behind, whatever it was about.

        A secret in the log or in what a debugger prints, a request against the schema, somebody else's machine ended.
        """
        self.no_secret(log, repr(self.provider), str(self.provider), repr(self.kind))
        wrong = [words for call in self.cloud.calls for words in self.check(call)]
        wrong += [f"{machine.name} was not ours to end" for machine in self.cloud.foreign_ended()]
        if wrong:
            raise AssertionError("; ".join(wrong))

    def no_secret(self, *texts: str) -> None:
        """AssertionError where one of them shows a secret; it does not show it again."""
        for text in texts:
            for number, secret in enumerate(self.secrets):
                if secret in text:
                    masked = text.replace(secret, f"<SECRET {number}>")
                    raise AssertionError(f"a secret shows in: {masked}")
