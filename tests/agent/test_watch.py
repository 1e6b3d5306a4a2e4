"""What `watch` says of processes under real systemd, and that each line of their logs is said once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lyc.agent.shim import LINE_BYTES
from tests.agent.hosted import Hosted, await_

pytestmark = pytest.mark.slow
FOLLOWS = "pgrep -fc '^journalctl .*_SYSTEMD_UNIT=lyc-replica@' || true"


@pytest.fixture(scope="module")
def talker(hosted: Hosted) -> Iterator[int | None]:
    """The port of an engine that says what it is told to: its lines go to the log."""
    port = hosted.start("talker-1.1", owner="listener")
    hosted.ask(port, "1")
    yield port
    hosted.call("stop", "talker-1.1", "--grace", "5")


def count(hosted: Hosted, port: int | None, first: int, after: int) -> None:
    assert hosted.tell(port, f"[print('number', i, flush=True) for i in range({first}, {after})] and 1") == "1"


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith("number ")]


def test_each_line_once_over_reconnects_rotation_and_vacuum(hosted: Hosted, talker: int | None) -> None:
    shell = hosted.machine.shell
    with hosted.watch(owner="listener") as first:
        count(hosted, talker, 0, 100)
        first.until(lambda: numbers(first.lines("talker-1.1")) == [*range(100)], "the first hundred")
        mark = first.mark("talker-1.1")
    count(hosted, talker, 100, 200)
    shell("journalctl --rotate")
    count(hosted, talker, 200, 300)
    with hosted.watch({"talker-1.1": mark}, owner="listener") as second:
        second.until(lambda: len(numbers(second.lines("talker-1.1"))) >= 200, "what was said meanwhile")
        for begin in (300, 350, 400):
            count(hosted, talker, begin, begin + 50)
            shell("journalctl --rotate")
        second.until(lambda: 449 in numbers(second.lines("talker-1.1")), "what is said now")
        assert numbers(second.lines("talker-1.1")) == [*range(100, 450)]
        mark = second.mark("talker-1.1")
    shell("journalctl --rotate; journalctl --quiet --vacuum-files=1")
    count(hosted, talker, 450, 500)
    with hosted.watch({"talker-1.1": mark}, owner="listener") as third:
        third.until(lambda: 499 in numbers(third.lines("talker-1.1")), "what was said since its mark was dropped")
        assert numbers(third.lines("talker-1.1")) == [*range(450, 500)]
    with hosted.watch({"talker-1.1": "no mark of ours"}, owner="listener") as fourth:
        fourth.until(lambda: 499 in numbers(fourth.lines("talker-1.1")), "all that is there")


def test_lines_of_all_kinds(hosted: Hosted, talker: int | None) -> None:
    odd = (
        rb"\r\n\n  \n10%\r20%\rdone\ncaf\xc3\xa9 \xff\n\x1b[1mbold\x1b[0m\n<3>not a priority\n"
        + b"x" * 60000
        + rb"\nend\n"
    )
    with hosted.watch(owner="listener") as watched:
        code = f"os.write(1, b'{odd.decode('ascii')}')".replace("x" * 60000, "' + b'x' * 60000 + b'")
        assert hosted.tell(talker, code)
        watched.until(lambda: "end" in watched.lines("talker-1.1"), "the last line")
        lines = watched.lines("talker-1.1")
        lines = lines[lines.index("10%") :]
    assert lines[:6] == ["10%", "20%", "done", "café \ufffd", "\x1b[1mbold\x1b[0m", "<3>not a priority"]
    assert set("".join(lines[6:-1])) == {"x"}
    assert max(map(len, lines)) == LINE_BYTES


def test_last_words_come_before_the_end(hosted: Hosted) -> None:
    port = hosted.start("dying-1.1", owner="listener")
    assert hosted.ask(port, "1")
    with hosted.watch(owner="listener") as watched:
        watched.until(lambda: watched.statuses("dying-1.1"), "that it runs")
        assert watched.statuses("dying-1.1")[0]["state"] == "running"
        hosted.tell(port, "print('last words', flush=True) or os.kill(os.getpid(), 9)")
        watched.until(lambda: watched.statuses("dying-1.1")[-1]["starts"] == 2, "that it runs again")
        hosted.call("stop", "dying-1.1", "--grace", "5")
        watched.until(lambda: watched.statuses("dying-1.1")[-1]["gave_up"], "that it is over")
        hosted.call("remove", "dying-1.1")
        watched.until(lambda: "dying-1.1" not in str(watched.listed()), "that it is gone")
        told = watched.statuses("dying-1.1")
        ends = [index for index, one in enumerate(watched.documents) if "'exit_code': -9" in str(one)]
        words = [index for index, one in enumerate(watched.documents) if "last words" in str(one)]
    assert [(one["state"], one["exit_code"], one["starts"], one["gave_up"]) for one in told] == [
        ("running", None, 1, False), ("exited", -9, 1, False), ("running", None, 2, False), ("exited", -15, 2, True)
    ]  # fmt: skip
    assert words < ends


def test_one_that_is_started_later_is_followed(hosted: Hosted) -> None:
    with hosted.watch(owner="listener") as watched:
        watched.until(lambda: watched.documents, "anything")
        hosted.start("later-1.1", owner="listener")
        watched.until(lambda: [one for one in watched.lines("later-1.1") if one.startswith("up")], "its first words")
        hosted.call("stop", "later-1.1", "--grace", "5")


def test_it_ends_when_nobody_listens(hosted: Hosted, talker: int | None) -> None:
    began = time.monotonic()
    heard = hosted.machine.shell(f"echo '{{}}' | {hosted.argv('watch', 'listener')} | head -n 3").splitlines()
    assert len(heard) == 3
    assert time.monotonic() - began < 10
    await_(lambda: hosted.machine.shell(FOLLOWS).strip() == "0", "nobody follows the journal")


def test_nobody_follows_the_journal_for_one_that_was_killed(hosted: Hosted, talker: int | None) -> None:
    with hosted.watch(owner="listener"):
        await_(lambda: hosted.machine.shell(FOLLOWS).strip() != "0", "the journal is followed")
        hosted.machine.shell("pkill -KILL -f '^/usr/bin/python3 .* watch listener$'")
        await_(lambda: hosted.machine.shell(FOLLOWS).strip() == "0", "nobody follows the journal")


def test_it_beats_and_costs_little(hosted: Hosted, talker: int | None) -> None:
    with hosted.watch(owner="listener") as watched:
        watched.until(lambda: sum(one["t"] == "beat" for one in watched.documents) > 1, "two beats")
        before, began, beats = used(hosted), time.monotonic(), len(watched.documents)
        watched.until(lambda: len([one for one in watched.documents[beats:] if one["t"] == "beat"]) == 6, "six beats")
        took = time.monotonic() - began
        assert 4.5 < took < 7.5
        share = (used(hosted) - before) / took
        print(f"{share:.2%} of a processor")
        assert share < 0.01


def used(hosted: Hosted) -> float:
    """Seconds of processor time of a watch and what it started."""
    pids = "pgrep -f '^/usr/bin/python3 .* watch listener$'; pgrep -f '^journalctl .*_SYSTEMD_UNIT=lyc-replica@'"
    text = hosted.machine.shell(f"for p in $({pids}); do cat /proc/$p/schedstat; done")
    return sum(int(line.split()[0]) for line in text.splitlines()) / 1e9
