"""The table of foretold against measured memory, printed below the tests."""

from __future__ import annotations

import pytest

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def printed_below(request: pytest.FixtureRequest) -> list[str]:
    """Lines that pytest prints after the tests."""
    return request.config.stash.setdefault(_LINES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("foretold against measured memory of vLLM")
        terminalreporter.write("\n".join(lines) + "\n")
