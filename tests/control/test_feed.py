"""Followers hear everything once and in order: early ones, late ones, and those that come after a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lyc.control.feed import Feed
from lyc.records.operation import Operation, OperationKind, OperationState
from lyc.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "lyc.db")
    store.put_operation(Operation("op", OperationKind.DEPLOY, "d", {}, OperationState.RUNNING, 1.0))
    return store


def end(store: Store, feed: Feed) -> None:
    store.put_operation(Operation("op", OperationKind.DEPLOY, "d", {}, OperationState.SUCCEEDED, 1.0, 2.0, {"a": 1}))
    feed.publish("op", "result", {"a": 1})


def heard(feed: Feed, after: int = 0) -> list[tuple[str, object]]:
    return [(event.kind, event.data.get("n")) for event in feed.follow("op", after) if event is not None]


def test_whoever_follows_from_the_start_hears_all_and_whoever_comes_late_hears_what_is_kept(store: Store) -> None:
    feed = Feed(store, lambda: 10.0)
    early: list[tuple[str, object]] = []
    follower = threading.Thread(target=lambda: early.extend(heard(feed)))
    follower.start()
    feed.publish("op", "phase", {"n": 1})
    feed.publish("op", "phase", {"n": 2}, keep=False)
    feed.publish("op", "phase", {"n": 3})
    end(store, feed)
    follower.join(20)
    assert not follower.is_alive()
    kept = [("phase", 1), ("phase", 3), ("result", None)]
    assert [one for one in early if one != ("phase", 2)] == kept
    assert heard(feed) == kept
    assert heard(Feed(store, lambda: 11.0)) == kept


def test_numbers_grow_across_a_restart_that_forgets_progress(store: Store) -> None:
    first = Feed(store, lambda: 10.0)
    for n in range(50):
        first.publish("op", "phase", {"n": n}, keep=False)
    last = 10_000 + 49
    second = Feed(store, lambda: 11.0)
    second.publish("op", "phase", {"n": 100})
    end(store, second)
    assert heard(second, after=last) == [("phase", 100), ("result", None)]


def test_an_end_that_was_never_said_is_heard_all_the_same(store: Store) -> None:
    """The controller was killed after it had stored the end, and before it said so."""
    first = Feed(store, lambda: 10.0)
    first.publish("op", "phase", {"n": 1})
    store.put_operation(Operation("op", OperationKind.DEPLOY, "d", {}, OperationState.SUCCEEDED, 1.0, 2.0, {"n": 7}))
    assert heard(Feed(store, lambda: 20.0)) == [("phase", 1), ("result", 7)]
    error = {"ref": "broken", "n": 8}
    store.put_operation(Operation("op", OperationKind.DEPLOY, "d", {}, OperationState.FAILED, 1.0, 2.0, None, error))
    assert heard(Feed(store, lambda: 20.0)) == [("phase", 1), ("error", 8)]
    assert heard(Feed(store, lambda: 20.0), after=10_000) == [("error", 8)]
