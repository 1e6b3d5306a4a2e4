"""One project at Scaleway."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lyc.errors import LycError, NoFit, NotAuthorised, Unreachable
from lyc.providers.http import Refused
from lyc.providers.scaleway import CAPABILITIES, translate
from lyc.providers.scaleway.api import Pause, ScalewayApi
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, MachineState, Offer, Order
from lyc.records.secret import Secret

T = TypeVar("T")
Row = Mapping[str, Any]

ZONES = CAPABILITIES.regions


class ScalewayProvider:
    """See `lyc.ports.Provider`. Its methods may be called from several threads. timeout: seconds for any answer.

    A machine is known by `zone/id`; each zone is asked for its own, all at once.
    """

    def __init__(
        self,
        secret: Secret,
        project: str,
        *,
        endpoint: str | None,
        clock: Callable[[], float],
        timeout: float | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        self._project = project
        self._clock = clock
        self._api = ScalewayApi(secret, project, endpoint=endpoint, timeout=timeout, pause=pause)

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def close(self) -> None:
        self._api.close()

    def account(self) -> str:
        with self._understood("/servers"):
            self._api.first_servers(next(iter(ZONES)))["servers"]
        return f"project {self._project}"

    def offers(self) -> Sequence[Offer]:
        with self._understood("/products/servers"), ThreadPoolExecutor(max_workers=2 * len(ZONES)) as pool:
            asked = [
                (zone, pool.submit(self._api.types, zone), pool.submit(self._api.availability, zone)) for zone in ZONES
            ]
            return [
                offer
                for zone, types, stock in asked
                for offer in translate.offers(
                    zone, ZONES[zone].country, types.result(), stock.result(), now=self._clock()
                )
            ]

    def create(self, order: Order) -> Machine:
        server_type, zone = translate.parts(order.offer.id, ZONES)
        image = self._image(zone, server_type, order.offer.id)
        try:
            answer = self._api.create(zone, translate.order_json(order, server_type=server_type, image=image))
        except Refused as error:
            raise self._refusal(error, order) from None
        with self._understood("/servers"):
            row: Row = answer["server"]
            identity = str(row["id"])
        try:
            self._started(order, zone, identity)
        except LycError as error:
            if _nothing_was_made(error):
                self._undo(zone, identity, row)
            raise
        # It was created stopped, which its row still says.
        return Machine(
            "scaleway", f"{zone}/{identity}", MachineState.CREATING, "starting", run_id=order.run_id, region=zone
        )

    def get(self, identity: str) -> Machine | None:
        row = self._row(*translate.place(identity, ZONES))
        if row is None:
            return None
        with self._understood("/servers/{id}"):
            return translate.machine(row)

    def list_owned(self, owner: str) -> Sequence[Machine]:
        with self._understood("/servers"):
            rows = [row for servers in self._of_all_zones(self._api.servers).values() for row in servers.values()]
            machines = [translate.machine(row) for row in rows]
        return [one for one in machines if (one.run_id or "").startswith(f"{owner}-")]

    def terminate(self, identity: str) -> None:
        zone, server = translate.place(identity, ZONES)
        row = self._row(zone, server)
        if row is None:
            return
        with self._understood("/servers/{id}"):
            machine, volume = translate.machine(row), translate.own_volume(row)
        if machine.state is MachineState.ENDING:
            return
        if machine.run_id and volume and volume[1]:
            # The disk stays behind, and has to be known for ours then. It costs less than the machine: never mind where
            # that fails.
            with contextlib.suppress(LycError, Refused):
                self._api.label_volume(zone, volume[0], *translate.labels(machine.run_id))
        try:
            if machine.state is MachineState.STOPPED:
                self._delete(zone, server, row)
            else:
                self._api.act(zone, server, "terminate")
        except Refused as error:
            if error.status == 404:
                return
            starting = machine.state is MachineState.CREATING and error.status not in (401, 403) and error.status < 500
            if starting or translate.is_busy(error.status, error.body):
                raise self._busy(f"/servers/{identity}", error) from None
            raise self._plain(error, f"/servers/{identity}") from None

    def leftovers(self, owner: str) -> Sequence[Leftover]:
        """Disks; of addresses lyc takes only such as go with their server, and of keys none."""
        with self._understood("/volumes"):
            found = self._of_all_zones(self._api.volumes)
            return [
                one for zone, volumes in found.items() for one in translate.leftovers(owner, zone, volumes.values())
            ]

    def remove(self, leftover: Leftover) -> None:
        try:
            self._api.drop_volume(*translate.place(leftover.id, ZONES))
        except Refused as error:
            if error.status == 404:
                return
            if translate.is_busy(error.status, error.body):
                raise self._busy(f"/volumes/{leftover.id}", error) from None
            raise self._plain(error, f"/volumes/{leftover.id}") from None

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        del since, until  # its billing API tells of months and products, not of machines
        return None

    def _row(self, zone: str, identity: str) -> Row | None:
        try:
            answer = self._api.server(zone, identity)
        except Refused as error:
            if error.status == 404:
                return None
            raise self._plain(error, "/servers/{id}") from None
        with self._understood("/servers/{id}"):
            row: Row = answer["server"]
            return row

    def _image(self, zone: str, server_type: str, offer: str) -> str:
        with self._understood("/local-images"):
            for label in translate.IMAGES:
                found = translate.image(self._api.images(zone, label), server_type)
                if found is not None:
                    return found
        self._check_sold(zone, server_type, offer)
        raise self._api.http.odd("/local-images", f"there is no image with NVIDIA's driver for {server_type} in {zone}")

    def _check_sold(self, zone: str, server_type: str, offer: str) -> None:
        """Raises UsageError `offer-gone` when the zone's list has no such type any more."""
        with self._understood("/products/servers"):
            sold = self._api.types(zone)
        if server_type not in sold:
            raise translate.gone(offer)

    def _started(self, order: Order, zone: str, identity: str) -> None:
        try:
            # The first start reads it.
            self._api.set_user_data(zone, identity, translate.cloud_init(order))
            self._api.act(zone, identity, "poweron")
        except Refused as error:
            raise self._refusal(error, order) from None

    def _undo(self, zone: str, identity: str, row: Row) -> None:
        """Delete what was created and will not be started. Raises Unreachable where that fails: it is still there."""
        try:
            self._delete(zone, identity, row)
        except (LycError, Refused) as error:
            why = f"{zone}/{identity} was created, could not be started, and could not be deleted: {error}"
            raise self._api.http.unreachable(why) from None

    def _delete(self, zone: str, identity: str, row: Row) -> None:
        """Of a server that is stopped; with its disk, unless that is still held, when `leftovers` has it."""
        try:
            self._api.drop_server(zone, identity)
        except Refused as error:
            if error.status != 404:
                raise
        volume = translate.own_volume(row)
        if volume:
            drop = self._api.drop_volume if volume[1] else self._api.drop_local_volume
            with contextlib.suppress(LycError, Refused):
                drop(zone, volume[0])

    def _refusal(self, error: Refused, order: Order) -> LycError:
        """Of a create or a start, in our words."""
        kind, offer, hint = translate.error_type(error.body), order.offer.id, "lyc gpus --available"
        if kind == "out_of_stock":
            return NoFit("no-capacity", f"Scaleway has no {offer} left", why=error.text, where=offer, hint=hint)
        if kind == "quotas_exceeded":
            what, hint = "Scaleway lets this organisation have no more of these", "lyc providers check scaleway"
            return NoFit("quota-exceeded", what, why=error.text, where=offer, hint=hint)
        return self._plain(error, "/servers")

    def _plain(self, error: Refused, path: str) -> LycError:
        if error.status >= 500:
            return self._api.http.unreachable(f"it answers {error.status} {error.text}")
        if error.status == 403:
            return self._api.http.denied(f"it answers 403 {error.text}", path)
        return self._api.http.refusal(error, path)

    def _busy(self, path: str, error: Refused) -> Unreachable:
        why = f"{error.status}: {error.text}"
        return Unreachable("provider-busy", "Scaleway is in the middle of something else there", why=why, where=path)

    def _of_all_zones(self, ask: Callable[[str], T]) -> dict[str, T]:
        """Raises what the first that fails raises: a part of the answers is none."""
        with ThreadPoolExecutor(max_workers=len(ZONES)) as pool:
            asked = {zone: pool.submit(ask, zone) for zone in ZONES}
            return {zone: answer.result() for zone, answer in asked.items()}

    @contextlib.contextmanager
    def _understood(self, path: str) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise self._plain(error, path) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._api.http.odd(path, f"{type(error).__name__}: {error}") from None


def _nothing_was_made(error: LycError) -> bool:
    """Whether it is certain that the start was not taken. What was created before can then be deleted."""
    return isinstance(error, NoFit | NotAuthorised) or error.ref in ("provider-busy", "provider-refused")
