"""Order: what is quick comes first, so that a plain mistake shows in seconds and not after the engine tests.

And another try, with `--reruns` only: whole machines, real engines and instants of death meet on a busy computer in
ways that are rare. A test that failed is run once more, or twice; what it said is shown all the same, and more than
`MOST` such tests fail the run.
"""

from __future__ import annotations

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it puts in the background like that
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and what we start would inherit it: no Ctrl-C would do

LONGEST = ("test_rented", "test_survival", "test_kills", "test_several_controllers", "test_remote", "test_real_engine")
"""Files that begin before the others that start an engine: what takes minutes must not be begun last, by one alone."""


MOST = 5
"""Of seven thousand: what a run on two busy cores was seen to have is up to four."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Plain tests, then `slow` ones, then those that start a real engine; otherwise in their own order."""
    items.sort(key=_turn)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed at first, in full: each of these is a fault to be found, in lyc or in its test."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("_", f"failed, and was run again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where that happens often, something is wrong."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    again = {report.nodeid for report in reporter.getreports("rerun")} if reporter is not None else set()
    if len(again) > MOST and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _turn(item: pytest.Item) -> tuple[int, int]:
    kind = 2 if item.get_closest_marker("engine") else 1 if item.get_closest_marker("slow") else 0
    file = item.path.stem
    return kind, LONGEST.index(file) if kind == 2 and file in LONGEST else len(LONGEST)
