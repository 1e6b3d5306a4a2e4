"""Order: what is quick comes first, so that a plain mistake shows in seconds and not after the engine tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Plain tests, then `slow` ones, then those that start a real engine; otherwise in their own order."""
    items.sort(key=lambda item: 2 if item.get_closest_marker("engine") else 1 if item.get_closest_marker("slow") else 0)
