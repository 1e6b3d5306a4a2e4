"""One SkyPilot API server. The contract is `lyc.ports.Provider`; a machine is a cluster of one, its id is its name."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lyc.errors import Failed, LycError, NoFit, UsageError
from lyc.providers.http import Refused
from lyc.providers.sky import CAPABILITIES, CHOSEN, translate
from lyc.providers.sky.api import SkyApi, Unfulfilled
from lyc.providers.sky.places import CLOUDS
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, MachineState, Offer, Order
from lyc.records.secret import Secret

LOOKS, LOOK_SECONDS = 30, 2.0
"""How often, and how far apart, a launch is looked at before its machine counts as being created."""
_NOT_SOLD = frozenset({"ValueError", "ResourcesMismatchError", "NotSupportedError", "NoCloudAccessError"})


class Sky:
    """clouds: names by commas, None = all that lyc has no client for. pause: waits so many seconds.

    Raises UsageError `unknown-cloud` and `invalid-endpoint`.
    """

    def __init__(
        self,
        endpoint: Secret,
        token: Secret | None,
        *,
        clouds: str | None = None,
        clock: Callable[[], float],
        timeout: float = 120.0,
        create_timeout: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._chosen = None if clouds is None else _chosen(clouds)
        self._api = SkyApi(endpoint, token, timeout=timeout, pause=pause)
        self._clock = clock
        self._create_timeout = create_timeout
        self._pause = pause
        self._lock = threading.Lock()
        self._known: dict[tuple[str, float | None], tuple[str, int]] = {}

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def account(self) -> str:
        with self._reading("/enabled_clouds"):
            version = self._api.version()
            enabled = translate.clouds(self._api.clouds(), self._chosen)
        return f"SkyPilot {version} with {', '.join(enabled) or 'no cloud that lyc rents from: sky check'}"

    def offers(self) -> Sequence[Offer]:
        with self._reading("/list_accelerators"):
            enabled = translate.clouds(self._api.clouds(), self._chosen)
            if not enabled:
                return []
            return translate.offers(self._api.accelerators(enabled), self._clock())

    def create(self, order: Order) -> Machine:
        """Looks on for a minute: what is sold out is known by then, most often."""
        try:
            task = translate.task(order)
        except ValueError as error:
            raise _gone(order, "it is none of SkyPilot's") from error
        with self._reading("/launch"):
            request = self._api.launch(order.name, task, timeout=self._create_timeout)
        # From here on it is known that there may be a machine, and which: trouble changes nothing about that.
        taken = Machine(translate.NAME, order.name, MachineState.CREATING, "launch taken", run_id=order.run_id)
        for _ in range(LOOKS):
            try:
                with self._reading("/status"):
                    found, requests = self._one(order.name)
            except LycError:
                return taken
            if any(one.id == request and one.active for one in requests):
                taken = found or taken
                self._pause(LOOK_SECONDS)
                continue
            if found is not None and found.state is not MachineState.FAILED:
                return found
            return self._settled(order, request, found or taken)
        return taken

    def _settled(self, order: Order, request: str, left: Machine) -> Machine:
        """A launch that is over, as it seems. left: what there is of it."""
        try:
            with self._reading("/launch", but=Unfulfilled):
                self._api.outcome(request)
        except Unfulfilled as failure:
            if left.word == "INIT":
                return replace(left, problem=failure.text)
            raise self._refusal(failure, order) from failure
        except LycError:
            return left
        return left

    def _refusal(self, failure: Unfulfilled, order: Order) -> LycError:
        if failure.kind == "ResourcesUnavailableError":
            # Of whatever a cloud refuses, a quota too: SkyPilot has tried every zone of the region.
            what = f"SkyPilot could not get {order.offer.product}"
            return NoFit("no-capacity", what, why=failure.text, where=order.offer.region)
        if failure.kind in _NOT_SOLD:
            return _gone(order, failure.text)
        return self._failed(failure, "/launch")

    def get(self, identity: str) -> Machine | None:
        with self._reading("/status"):
            found, requests = self._one(identity)
            if found is None or found.state is not MachineState.FAILED:
                return found
            for one in requests:
                if one.verb == translate.LAUNCH and one.status == "FAILED":
                    return replace(found, problem=self._why(one))
            return found

    def _why(self, request: translate.Request) -> str:
        """Why one that has failed did."""
        try:
            self._api.outcome(request.id)
        except Unfulfilled as failure:
            return failure.text
        return ""

    def _one(self, name: str) -> tuple[Machine | None, list[translate.Request]]:
        """A cluster, and all that was asked of it. Asked in this order, it cannot slip through between the two."""
        requests = self._of(name, self._api.journal(name))
        row = next(iter(translate.rows(self._api.clusters(name))), None)
        if row is not None:
            return self._addressed(translate.machine(row, requests)), requests
        launch = next((one for one in requests if one.verb == translate.LAUNCH and one.active), None)
        if launch is not None:
            return translate.waiting(name, launch), requests
        if requests and requests[0].verb == translate.LAUNCH and requests[0].status == "FAILED":
            return translate.failed(name), requests
        return None, requests

    def _of(self, name: str, data: object) -> list[translate.Request]:
        return [one for one in translate.journal(data) if one.cluster == name]

    def _addressed(self, machine: Machine) -> Machine:
        if machine.state is not MachineState.RUNNING:
            return machine
        key = (machine.id, machine.created_at)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            try:
                known = translate.address(self._api.endpoints(machine.id, translate.SSH))
            except Unfulfilled as failure:
                if failure.kind != "ClusterNotUpError":
                    raise
                return replace(machine, state=MachineState.CREATING)  # not any more, or not yet
            with self._lock:
                self._known[key] = known
        return replace(machine, address=known[0], port=known[1])

    def list_owned(self, owner: str) -> Sequence[Machine]:
        with self._reading("/status"):
            pending: dict[str, list[translate.Request]] = {}
            for one in translate.journal(self._api.journal()):
                pending.setdefault(one.cluster, []).append(one)
            rows = translate.rows(self._api.clusters())
            found = [self._listed(row, pending.get(str(row["name"]), [])) for row in rows]
            named = {machine.id for machine in found}
            for name, requests in pending.items():
                launch = next((one for one in requests if one.verb == translate.LAUNCH and one.active), None)
                if launch is not None and name not in named:
                    found.append(translate.waiting(name, launch))
        return [one for one in found if one.run_id and one.run_id.startswith(f"{owner}-")]

    def _listed(self, row: translate.Row, requests: list[translate.Request]) -> Machine:
        if translate.unsettled(row, requests):
            requests = self._of(str(row["name"]), self._api.journal(str(row["name"])))
        machine = translate.machine(row, requests)
        with self._lock:
            known = self._known.get((machine.id, machine.created_at), (None, None))
        return replace(machine, address=known[0], port=known[1])

    def terminate(self, identity: str) -> None:
        """A launch that still waits for its turn has no cluster, so that its end alone would not hold it up."""
        with self._reading("/down"):
            launches = [
                one.id
                for one in self._of(identity, self._api.journal(identity))
                if one.verb == translate.LAUNCH and one.active
            ]
            if launches:
                self._api.outcome(self._api.cancel(launches))
            self._api.down(identity)

    def leftovers(self, owner: str) -> Sequence[Leftover]:  # noqa: ARG002 (no call tells of any)
        """It removes disks, addresses and rules with the machine; its keys are the account's, for all clusters."""
        return ()

    def remove(self, leftover: Leftover) -> None:
        pass

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:  # noqa: ARG002 (it only estimates)
        return None

    def close(self) -> None:
        self._api.http.close()

    def _failed(self, failure: Unfulfilled, path: str) -> Failed:
        why = f"{failure.kind}: {failure.text}"
        return Failed("provider-refused", "SkyPilot cannot do what was asked", why=why, where=path)

    @contextlib.contextmanager
    def _reading(self, path: str, *, but: type[Exception] | None = None) -> Iterator[None]:
        """What has no words of its own: refusals, requests that fail, answers that lack something. but: let pass."""
        try:
            yield
        except Refused as refused:
            raise self._api.http.refusal(refused, path) from refused
        except Unfulfilled as failure:
            if but is Unfulfilled:
                raise
            raise self._failed(failure, path) from failure
        except (translate.Odd, KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise self._api.http.odd(path, f"{type(error).__name__}: {error}") from error


def _chosen(text: str) -> frozenset[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - CLOUDS.keys())
    if unknown:
        raise UsageError(
            "unknown-cloud",
            f"lyc does not rent from {', '.join(unknown)} by way of SkyPilot",
            why=f"it does from {', '.join(sorted(CLOUDS))}",
            where=CHOSEN,
            hint="lyc providers login sky",
        )
    return frozenset(names)


def _gone(order: Order, why: str) -> UsageError:
    what = f"SkyPilot does not sell {order.offer.product} there any more"
    return UsageError("offer-gone", what, why=why, where=order.offer.id, hint="lyc gpus --available")
