"""One account at Verda."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lyc.errors import LycError, NoFit, NotAuthorised
from lyc.providers.http import Refused
from lyc.providers.verda import CAPABILITIES, market, translate
from lyc.providers.verda.api import Pause, VerdaApi
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, MachineState, Offer, Order, machine_name
from lyc.records.secret import Secret

Row = Mapping[str, Any]


class VerdaProvider:
    """See `lyc.ports.Provider`. Its methods may be called from several threads. timeout: seconds for any answer."""

    def __init__(
        self,
        client: Secret,
        secret: Secret,
        *,
        endpoint: str | None,
        clock: Callable[[], float],
        timeout: float | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        self._client = client
        self._clock = clock
        self._api = VerdaApi(client, secret, endpoint=endpoint, clock=clock, timeout=timeout, pause=pause)
        self._currency: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def close(self) -> None:
        self._api.close()

    def account(self) -> str:
        with self._understood("/balance"):
            self._api.balance()
        return self._client.reveal()  # an id, of no use without the other half

    def offers(self) -> Sequence[Offer]:
        """Prices are in the currency of the account's balance, in which it is billed."""
        with self._understood("/instance-types"), ThreadPoolExecutor(max_workers=4) as pool:
            if self._currency is None:
                self._currency = str(self._api.balance()["currency"]).lower()
            types = pool.submit(self._api.instance_types, self._currency)
            places = pool.submit(self._api.locations)
            stock = {spot: pool.submit(self._api.availability, spot=spot) for spot in (False, True)}
            return market.offers(
                types.result(),
                market.places(places.result(), CAPABILITIES.regions),
                {spot: market.stock(answer.result()) for spot, answer in stock.items()},
                now=self._clock(),
            )

    def create(self, order: Order) -> Machine:
        instance_type, location, _spot = market.parts(order.offer.id)
        image = self._image(instance_type, order.offer.id)
        key, script = self._key(order), self._script(order)
        try:
            answer = self._ordered(order, translate.order_json(order, image_type=image, key=key, script=script))
        except LycError as error:
            if script is not None and _nothing_was_made(error):
                with contextlib.suppress(LycError, Refused):
                    self._api.drop_script(script)
            raise
        identity = translate.identity(answer)
        if identity is None:
            raise self._api.http.odd("/instances", "there is no id in it")
        return Machine("verda", identity, MachineState.CREATING, "ordered", run_id=order.run_id, region=location)

    def get(self, identity: str) -> Machine | None:
        row = self._row(identity)
        if row is None:
            return None
        with self._understood("/instances/{id}"):
            machine = translate.machine(row)
        return machine if machine.alive else None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        with self._understood("/instances"):
            machines = [translate.machine(row) for row in self._api.instances()]
        return [one for one in machines if one.alive and (one.run_id or "").startswith(f"{owner}-")]

    def terminate(self, identity: str) -> None:
        row = self._row(identity)
        if row is None:
            return
        with self._understood("/instances"):
            machine, body = translate.machine(row), translate.end_json(row)
        if machine.state not in (MachineState.ENDING, MachineState.GONE):
            self._end(identity, body)
        script = row.get("startup_script_id")
        if script and machine.run_id:
            # Made for this machine alone. What cannot be removed now, `leftovers` finds.
            with contextlib.suppress(LycError, Refused):
                self._api.drop_script(str(script))

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        with self._understood("/volumes, /ssh-keys, /scripts"):
            return translate.leftovers(
                owner,
                volumes=self._api.volumes(),
                keys=self._api.public_keys(),
                scripts=self._api.scripts(machine_name(f"{owner}-")),
            )

    def remove(self, leftover: Leftover) -> None:
        drop = {"volume": self._api.drop_volume, "key": self._api.drop_key, "script": self._api.drop_script}
        try:
            drop[leftover.kind](leftover.id)
        except Refused as error:
            if error.status != 404:
                raise self._api.http.refusal(error, f"/{leftover.kind}s/{leftover.id}") from None

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        del since, until  # there is a balance, and no call that says what was billed
        return None

    def _row(self, identity: str) -> Row | None:
        try:
            row: Row = self._api.instance(identity)
        except Refused as error:
            if error.status == 404:
                return None
            raise self._api.http.refusal(error, "/instances/{id}") from None
        return row

    def _end(self, identity: str, body: Row) -> None:
        try:
            answer = self._api.act(body)
        except Refused as error:
            if error.status == 404:
                return
            raise self._api.http.refusal(error, "/instances") from None
        failed = translate.failures(answer, identity)
        for status, text in failed:
            if status >= 500:
                raise self._api.http.unreachable(f"it answers {status} {text}")
            raise self._api.http.refusal(Refused(status, text, text), "/instances")

    def _image(self, instance_type: str, offer: str) -> str:
        try:
            found = market.image(self._api.images(instance_type))
        except Refused:
            found = None
        if found is None:
            self._check_sold(instance_type, offer)
            raise self._api.http.odd("/images", f"there is no Ubuntu with CUDA for {instance_type}")
        return found

    def _key(self, order: Order) -> str:
        """The account's own copy of the key where it has one, whoever put it there."""
        with self._understood("/ssh-keys"):
            for row in self._api.public_keys():
                if translate.same_key(row["key"], order.public_key):
                    return str(row["id"])
            answer = self._api.add_key(translate.key_name(order.run_id.partition("-")[0]), order.public_key)
        return self._identity(answer, "/ssh-keys")

    def _script(self, order: Order) -> str | None:
        if order.boot_script is None:
            return None
        with self._understood("/scripts"):
            answer = self._api.add_script(order.name, order.boot_script)
        return self._identity(answer, "/scripts")

    def _identity(self, answer: object, path: str) -> str:
        identity = translate.identity(answer)
        if identity is None:
            raise self._api.http.odd(path, "there is no id in it")
        return identity

    def _ordered(self, order: Order, body: Row) -> Any:
        """The answer to the one call that costs money; its refusals in our words."""
        try:
            return self._api.create(body)
        except Refused as error:
            code = error.body.get("code") if isinstance(error.body, Mapping) else None
            offer, hint = order.offer.id, "lyc gpus --available"
            if error.status == 503 and code != "service_unavailable":
                raise self._api.http.unreachable(f"it answers 503 {error.text}") from None
            if error.status == 503:
                raise NoFit(
                    "no-capacity", f"Verda has no {offer} left", why=error.text, where=offer, hint=hint
                ) from None
            if error.status == 402:
                what, why = "Verda lets this account rent nothing more", f"its balance is too low: {error.text}"
                raise NoFit("quota-exceeded", what, why=why, where=offer, hint="lyc providers check verda") from None
            self._check_sold(market.parts(offer)[0], offer)
            raise self._api.http.refusal(error, "/instances") from None

    def _check_sold(self, instance_type: str, offer: str) -> None:
        """Raises UsageError `offer-gone` when the price list has no such type any more."""
        with self._understood("/instance-types"):
            if all(row["instance_type"] != instance_type for row in self._api.instance_types("usd")):
                raise market.gone(offer)

    @contextlib.contextmanager
    def _understood(self, path: str) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise self._api.http.refusal(error, path) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._api.http.odd(path, f"{type(error).__name__}: {error}") from None


def _nothing_was_made(error: LycError) -> bool:
    return isinstance(error, NoFit | NotAuthorised) or error.ref in ("offer-gone", "provider-busy", "provider-refused")
