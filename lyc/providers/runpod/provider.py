"""One account at RunPod. The contract is `lyc.ports.Provider`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lyc.errors import Failed, LycError, NoFit, Unreachable, UsageError
from lyc.providers.http import Refused
from lyc.providers.runpod import CAPABILITIES, translate
from lyc.providers.runpod.api import CREATE_SECONDS, MARKET, MYSELF, Calls
from lyc.providers.runpod.start import script
from lyc.records.rental import Billed, Capabilities, Leftover, Machine, Offer, Order
from lyc.records.secret import Secret


class RunPod:
    """timeout, create_timeout: seconds for one answer. pause: waits before a call is made again."""

    def __init__(
        self,
        key: Secret,
        *,
        endpoint: str | None,
        clock: Callable[[], float],
        timeout: float = 30.0,
        create_timeout: float = CREATE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._calls = Calls(key, endpoint, timeout=timeout, create_timeout=create_timeout, pause=pause)
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def account(self) -> str:
        myself = self._calls.query(MYSELF).get("myself")
        if not isinstance(myself, dict):
            raise self._calls.graphql.odd("/graphql", "it does not say whose the key is")
        return str(myself.get("email") or myself.get("id") or "")

    def offers(self) -> Sequence[Offer]:
        data = self._calls.query(MARKET)
        try:
            return translate.offers(data, self._clock())
        except (translate.Odd, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise self._calls.graphql.odd("/graphql", str(error)) from error

    def create(self, order: Order) -> Machine:
        calls = self._calls
        ends_at = None if order.time_limit is None else self._clock() + order.time_limit
        try:
            body = translate.create_body(order, script(calls.rest_base, calls.graphql_base), ends_at)
        except ValueError as error:
            raise _gone(order) from error
        try:
            return self._pod(calls.create(body), "/pods")
        except Refused as refused:
            return self._refused(refused, order)

    def _refused(self, refused: Refused, order: Order) -> Machine:
        """The machine after all, or the error. It answers 500 for what it cannot do as for what it did by half."""
        if refused.status == 404:
            raise _gone(order) from refused
        sold_out, too_poor = translate.sold_out(refused.text), translate.too_poor(refused.text)
        if not (sold_out or too_poor):
            if refused.status >= 500:
                raise self._calls.rest.unreachable(f"it answers {refused.status} {refused.text}") from refused
            raise self._calls.rest.refusal(refused, "/pods") from refused
        # A pod has been seen to stand there after such an answer.
        for one in self._pods(order.name):
            if one.run_id == order.run_id:
                return one
        ref, what = ("no-capacity", "has none left of") if sold_out else ("quota-exceeded", "lets this account have no")
        raise NoFit(ref, f"RunPod {what} {order.offer.product}", why=refused.text, where=order.offer.id) from refused

    def get(self, identity: str) -> Machine | None:
        path = f"/pods/{identity}"
        try:
            found = self._pod(self._calls.pod(identity), path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise self._calls.rest.refusal(refused, path) from refused
        return found if found.alive else None

    def list_owned(self, owner: str) -> Sequence[Machine]:
        return [one for one in self._pods() if one.run_id and one.run_id.startswith(f"{owner}-")]

    def terminate(self, identity: str) -> None:
        try:
            self._calls.delete(identity)
        except Refused as refused:
            # 400 is documented for an id that is not valid, as that of a pod that is gone may be; get says which.
            if refused.status != 404 and self.get(identity) is not None:
                raise self._calls.rest.refusal(refused, f"/pods/{identity}") from refused
        except Unreachable:
            # It has answered 500 to a delete that it had carried out.
            if not self._is_gone(identity):
                raise

    def _is_gone(self, identity: str) -> bool:
        try:
            return self.get(identity) is None
        except LycError:
            return False

    def leftovers(self, owner: str) -> Sequence[Leftover]:  # noqa: ARG002 (nothing is made beside pods)
        return ()

    def remove(self, leftover: Leftover) -> None:
        raise Failed("provider-refused", f"lyc makes no {leftover.kind} at RunPod", where=leftover.id)

    def billed(self, since: float, until: float) -> Sequence[Billed] | None:
        path = "/billing/pods"
        try:
            return translate.bills(self._calls.billing(translate.stamp(since), translate.stamp(until)))
        except Refused as refused:
            raise self._calls.rest.refusal(refused, path) from refused
        except (translate.Odd, AttributeError, ArithmeticError) as error:
            raise self._calls.rest.odd(path, str(error)) from error

    def close(self) -> None:
        self._calls.close()

    def _pods(self, name: str | None = None) -> list[Machine]:
        try:
            return translate.pods(self._calls.pods(name))
        except Refused as refused:
            raise self._calls.rest.refusal(refused, "/pods") from refused
        except translate.Odd as error:
            raise self._calls.rest.odd("/pods", str(error)) from error

    def _pod(self, answer: object, path: str) -> Machine:
        try:
            return translate.pod(answer)
        except translate.Odd as error:
            raise self._calls.rest.odd(path, str(error)) from error


def _gone(order: Order) -> UsageError:
    return UsageError(
        "offer-gone",
        f"RunPod does not sell {order.offer.product} any more",
        where=order.offer.id,
        hint="lyc gpus --available",
    )
