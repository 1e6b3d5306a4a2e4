"""The caching allocator: torch's own rules, and what must hold for any sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyc.planning.weights.allocator import allocated
from lyc.units import GIB, KIB, MIB


@pytest.mark.parametrize(
    ("sizes", "counted"),
    [
        ([1], 512),
        ([512], 512),
        ([513], 1 * KIB),
        ([MIB], MIB),
        ([MIB + 1], MIB + 512),  # from a segment of 20 MiB, split
        ([12 * MIB], 12 * MIB),
        ([11 * MIB], 12 * MIB),  # 1 MiB remains: not split
        ([10 * MIB + 512], 10 * MIB + 512),  # more than 1 MiB remains
        ([259 * MIB], 260 * MIB),
        ([(259 * MIB) + (MIB // 2)], 260 * MIB),
        ([9 * MIB, 9 * MIB, 9 * MIB], 27 * MIB),
        ([9 * MIB, 10 * MIB], 20 * MIB),  # the second keeps the rest of the first one's segment
    ],
)
def test_blocks_as_torch_counts_them(sizes: list[int], counted: int) -> None:
    assert allocated([(sizes, 1)]) == counted


def test_a_rest_serves_a_later_request() -> None:
    """24.5 MiB take 26 and leave 1.5, which then holds 1.2 MiB without a segment of its own, whole."""
    assert allocated([([24 * MIB + 512 * KIB, 1200 * KIB], 1)]) == 26 * MIB


@given(
    sizes=st.lists(st.integers(1, 300 * MIB), min_size=1, max_size=12),
    repeats=st.integers(1, 40),
)
def test_equal_layers_count_as_if_walked_one_by_one(sizes: list[int], repeats: int) -> None:
    assert allocated([(sizes, repeats)]) == allocated([(sizes, 1)] * repeats)


@given(st.lists(st.integers(0, GIB), max_size=30))
def test_never_less_than_asked_nor_a_mebibyte_more_for_each(sizes: list[int]) -> None:
    counted = allocated([(sizes, 1)])
    assert sum(sizes) <= counted <= sum(sizes) + len(sizes) * (MIB + 512)


def test_nothing_takes_nothing() -> None:
    assert allocated([]) == allocated([([], 5)]) == allocated([([0], 3)]) == 0
