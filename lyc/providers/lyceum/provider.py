"""Lyceum as a `lyc.ports.Provider`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from lyc.errors import LycError, NoFit, UsageError
from lyc.providers.http import Refused
from lyc.providers.lyceum import CAPABILITIES, ENDPOINT, translate
from lyc.providers.lyceum.api import CREATE_SECONDS, LyceumApi
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, Offer, Order
from lyc.records.secret import Secret

_LIST, _CREATE, _VOLUMES = "/vms/list", "/vms/create", "/storage/block"


class Lyceum:
    """One key. timeout, create_timeout: seconds for one answer. pause: waits before a request is repeated."""

    def __init__(
        self,
        key: Secret,
        *,
        clock: Callable[[], float],
        organisation: str | None = None,
        endpoint: str = ENDPOINT,
        timeout: float = 30.0,
        create_timeout: float = CREATE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = LyceumApi(
            key, organisation, endpoint, timeout=timeout, create_timeout=create_timeout, pause=pause
        )  # fmt: skip
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def account(self) -> str:
        with self._reading("/user/org"):
            return translate.account(self._api.organisation())

    def offers(self) -> Sequence[Offer]:
        with self._reading("/pricing"):
            return translate.offers(self._api.prices(), self._api.availability(), self._clock())

    def create(self, order: Order) -> Machine:
        try:
            body = translate.order(order)
        except ValueError as error:
            raise self._gone(order) from error
        with self._reading(_CREATE):
            try:
                return translate.machine(self._api.create(body))
            except Refused as refused:
                raise self._refusal(refused, order) from refused

    def get(self, identity: str) -> Machine | None:
        with self._reading(f"/vms/{identity}/status"):
            try:
                found = translate.machine(self._api.machine(identity))
            except Refused as refused:
                if refused.status == 404:
                    return None
                raise
        return found if found.alive else None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        with self._reading(_LIST):
            listed = translate.machines(self._api.machines())
        return [one for one in listed if one.alive and (one.run_id or "").startswith(f"{owner}-")]

    def terminate(self, identity: str) -> None:
        with self._reading(f"/vms/{identity}"):
            try:
                answer = self._api.delete(identity)
            except Refused as refused:
                # It does not say how it answers for one that it still lists as dead.
                if refused.status != 404 and self.get(identity) is not None:
                    raise
                return
        # What stays of them, `leftovers` finds: by the dead machine, which still names them.
        with contextlib.suppress(Refused, LycError, ValueError):
            for volume in translate.volumes_of_dead(answer):
                self._api.delete_volume(volume)

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        with self._reading(_VOLUMES):
            return tuple(translate.leftovers(self._api.machines(), self._api.volumes(), owner))

    def remove(self, leftover: Leftover) -> None:
        with self._reading(_VOLUMES):
            try:
                self._api.delete_volume(leftover.id)
            except Refused as refused:
                if refused.status != 404:
                    raise

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        with self._reading(_LIST):
            return tuple(translate.billed(self._api.machines(), since, until))

    def close(self) -> None:
        self._api.http.close()

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """What `translate` and the client cannot name becomes an error of the port."""
        try:
            yield
        except Refused as refused:
            raise self._api.http.refusal(refused, path) from refused
        except ValueError as error:
            raise self._api.http.odd(path, str(error)) from error

    def _refusal(self, refused: Refused, order: Order) -> LycError:
        """Why there is no machine; a breakdown (5xx) may have left one."""
        if refused.status >= 500:
            if translate.NO_CAPACITY in refused.text:
                what = f"Lyceum has no {order.offer.count}× {order.offer.product} left"
                return NoFit("no-capacity", what, why=refused.text, where=_CREATE)
            return self._api.http.unreachable(f"it answers {refused.status} {refused.text}")
        if refused.status == 402:
            hint = "add credit at https://dashboard.lyceum.technology"
            return NoFit("quota-exceeded", "the account at Lyceum has no credit left", why=refused.text, hint=hint)
        if refused.status == 422 and translate.blames(refused.body, ("hardware_profile", "instance_type", "gpu_count")):
            return self._gone(order)
        return self._api.http.refusal(refused, _CREATE)

    def _gone(self, order: Order) -> UsageError:
        return UsageError("offer-gone", f"Lyceum does not sell {order.offer.id!r}", hint="lyc gpus --available")
