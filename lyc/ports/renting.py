"""Who rents machines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from lyc.records.rental import Billed, Capabilities, Leftover, Machine, Offer, Order
from lyc.records.secret import Secret


class Provider(Protocol):
    """One account at one provider of machines. `lyc.testing` has the suite that each must pass.

    Errors, whatever the provider's own words are: NotAuthorised `provider-denied` (credential wrong, expired, or
    allows too little), Unreachable `provider-unreachable` (no answer in time, 5xx) and `provider-busy` (429; tried
    again within reason before), Failed `provider-odd-answer` (not what it documents), Failed `provider-refused` (it
    says that the request itself is wrong). No secret is in any of them.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def account(self) -> str:
        """Proves the credential with one small request: a word for whose it is, without a secret; may be empty."""
        ...

    def offers(self) -> Sequence[Offer]:
        """Everything with a GPU that it sells, sold out or not; nothing is filtered here. As fresh as it has them."""
        ...

    def create(self, order: Order) -> Machine:
        """Ask for one machine. Returns as soon as the provider has given it an id, ready or not.

        Raises NoFit `no-capacity` (sold out; try another offer), NoFit `quota-exceeded`, UsageError `offer-gone`: after
        these, after NotAuthorised, `provider-busy` and `provider-refused`, nothing was created. After any other error
        it is not known whether a machine was: list before asking again. What had to be made for it first (a key, a
        disk) and is of no use any more is removed, or else found by `leftovers`.
        """
        ...

    def get(self, identity: str) -> Machine | None:
        """One machine; None when the provider says that there is none of this id, or that it is gone for good."""
        ...

    def list_owned(self, owner: str) -> Sequence[Machine]:
        """Every machine, in every region and on every page, of a run id that begins with `<owner>-`, gone ones left
        out. Raises rather than return a part of them.
        """
        ...

    def terminate(self, identity: str) -> None:
        """Ask for its end, together with the disks and addresses that came with it. Of a missing one: a success.

        Returns as soon as the provider has taken the request; whether it is gone, `get` tells.
        """
        ...

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        """What is there of this owner beside machines: disks, addresses, keys, scripts. Those of living machines too:
        who asks compares the run ids.
        """
        ...

    def remove(self, leftover: Leftover) -> None:
        """Remove one of `leftovers`. Of a missing one: a success."""
        ...

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        """What it says that it bills; None where it has no such call."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class ProviderKind(Protocol):
    """What an entry point of the group `lyc.providers` names: a provider, before there is an account.

    Loading it must be cheap: what is heavy is imported in `open`.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def open(self, credentials: Mapping[str, Secret], *, endpoint: str | None, clock: Callable[[], float]) -> Provider:
        """The account of these credentials, by the names in the capabilities; all that are required are there.

        endpoint: in place of the provider's own address. Touches no network.
        """
        ...


class Accounts(Protocol):
    """The user's accounts at providers: which there are, and their credentials.

    A credential comes from, in this order: what the last caller had in its environment (`hear`), `lyc providers login`
    (a file of 0600, or the keyring), and the controller's own environment.
    """

    def kinds(self) -> Mapping[str, ProviderKind]:
        """All providers that are installed, by name."""
        ...

    def sources(self) -> Mapping[str, str]:
        """Of providers with all credentials that they need: name → where those come from, in a word."""
        ...

    def open(self, name: str) -> Provider:
        """The account; opened once as long as its credential stays the same.

        Raises UsageError `unknown-provider` and NotAuthorised `no-provider-credential`.
        """
        ...

    def trial(self, name: str, credentials: Mapping[str, Secret]) -> Provider:
        """The account of these credentials, which are not kept. Raises as `open`, and UsageError `unknown-credential`.

        Close it when done.
        """
        ...

    def hear(self, credentials: Mapping[str, Secret]) -> None:
        """Take over what a caller has in its environment, for as long as something is rented with it."""
        ...

    def settle(self, renting: Collection[str]) -> None:
        """Forget what `hear` took over, but for these providers: something is rented there."""
        ...

    def login(self, name: str, credentials: Mapping[str, Secret], *, keyring: bool) -> None:
        """Keep a credential for good.

        Raises UsageError `unknown-provider` and `unknown-credential`, Failed `no-keyring`.
        """
        ...

    def logout(self, name: str) -> bool:
        """Forget it; whether there was one."""
        ...
