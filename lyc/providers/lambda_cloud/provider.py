"""One account at Lambda. The contract is `lyc.ports.Provider`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from lyc.errors import LycError, NoFit, UsageError
from lyc.providers.http import Refused
from lyc.providers.lambda_cloud import CAPABILITIES, translate
from lyc.providers.lambda_cloud.api import LAUNCH, V1, LambdaApi
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, MachineState, Offer, Order
from lyc.records.secret import Secret

_INSTANCES, _KEYS, _TERMINATE = f"{V1}/instances", f"{V1}/ssh-keys", f"{V1}/instance-operations/terminate"


class Lambda:
    """timeout, create_timeout: seconds for one answer. pause: waits, for its turn or before a call is made again.

    monotonic: seconds of a clock that is never set; turns are counted by it.
    """

    def __init__(
        self,
        key: Secret,
        *,
        endpoint: str,
        clock: Callable[[], float],
        timeout: float = 30.0,
        create_timeout: float = 120.0,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = LambdaApi(
            key, endpoint, timeout=timeout, create_timeout=create_timeout, pause=pause, monotonic=monotonic
        )
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def account(self) -> str:
        """It has no call that says whose the key is."""
        with self._reading(_KEYS):
            translate.keys(self._api.keys())
        return ""

    def offers(self) -> Sequence[Offer]:
        with self._reading(f"{V1}/instance-types"):
            return translate.offers(self._api.kinds(), self._clock())

    def create(self, order: Order) -> Machine:
        try:
            body = translate.launch_body(order, "")
        except ValueError as error:
            raise _gone(order) from error
        if not body["region_name"]:
            raise NoFit("no-capacity", f"Lambda has no {order.offer.product} in any region", where=order.offer.id)
        try:
            identity = self._launched(body, order)
        except Refused as refused:
            raise self._refusal(refused, order) from refused
        return Machine("lambda", identity, MachineState.CREATING, "booting", order.run_id, region=body["region_name"])

    def _launched(self, body: dict[str, object], order: Order) -> str:
        name, _ = self._key(order)
        with self._odd(LAUNCH):
            try:
                return translate.launched(self._api.launch(body | {"ssh_key_names": [name]}))
            except Refused as refused:
                if translate.code(refused.body) != translate.MISSING:
                    raise
                # What does not exist is said in a sentence only: the key may have been tidied up meanwhile.
                name, there = self._key(order)
                if there:
                    raise
                return translate.launched(self._api.launch(body | {"ssh_key_names": [name]}))

    def _key(self, order: Order) -> tuple[str, bool]:
        """The name of this controller's key in the account, and whether it was there; it is now."""
        with self._reading(_KEYS):
            name, there = translate.key_for(order, translate.keys(self._api.keys()))
            if not there:
                try:
                    self._api.add_key(name, order.public_key)
                except Refused:
                    # Somebody was faster, with the same one.
                    if translate.key_for(order, translate.keys(self._api.keys())) != (name, True):
                        raise
            return name, there

    def _refusal(self, refused: Refused, order: Order) -> LycError:
        why, where = refused.text, order.offer.id
        match translate.code(refused.body):
            case translate.INSUFFICIENT:
                return NoFit("no-capacity", f"Lambda has none left of {order.offer.product}", why=why, where=where)
            case translate.QUOTA:
                return NoFit("quota-exceeded", "Lambda lets this account have no more", why=why, where=where)
            case translate.MISSING:
                return _gone(order)
        return self._api.http.refusal(refused, LAUNCH)

    def get(self, identity: str) -> Machine | None:
        try:
            with self._odd(_INSTANCES):
                found = translate.machine(self._api.machine(identity))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise self._api.http.refusal(refused, _INSTANCES) from refused
        return found if found.alive else None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        with self._reading(_INSTANCES):
            found = translate.machines(self._api.machines())
        return [one for one in found if one.run_id and one.run_id.startswith(f"{owner}-")]

    def terminate(self, identity: str) -> None:
        try:
            self._api.terminate(identity)
        except Refused as refused:
            if refused.status == 404:
                return
            # It takes no second request for one that is on its way out.
            there = self.get(identity)
            if there is not None and there.state is not MachineState.ENDING:
                raise self._api.http.refusal(refused, _TERMINATE) from refused

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        with self._reading(_KEYS):
            return translate.leftovers(translate.keys(self._api.keys()), owner)

    def remove(self, leftover: Leftover) -> None:
        try:
            self._api.remove_key(leftover.id)
        except Refused as refused:
            if refused.status != 404:
                raise self._api.http.refusal(refused, _KEYS) from refused

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:  # noqa: ARG002 (no call tells it)
        return None

    def close(self) -> None:
        self._api.http.close()

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """What has no words of its own: refusals, and answers that lack something."""
        try:
            with self._odd(path):
                yield
        except Refused as refused:
            raise self._api.http.refusal(refused, path) from refused

    @contextlib.contextmanager
    def _odd(self, path: str) -> Iterator[None]:
        try:
            yield
        except (translate.Odd, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise self._api.http.odd(path, f"{type(error).__name__}: {error}") from error


def _gone(order: Order) -> UsageError:
    return UsageError(
        "offer-gone",
        f"Lambda does not sell {order.offer.product} there any more",
        where=order.offer.id,
        hint="lyc gpus --available",
    )
