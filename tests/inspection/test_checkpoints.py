"""Expected tensors against checkpoints that Transformers 5.19 wrote: small models of each class, every name and shape.

`checkpoints.json`: model type → config.json (less what has no bearing on sizes) and [name, shape, how many].
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lyc.inspection.architecture import described
from lyc.inspection.sections import sections
from lyc.inspection.tensors.expected import expected
from lyc.records.architecture import TensorGroup

WRITTEN: dict[str, Any] = json.loads((Path(__file__).parent / "checkpoints.json").read_text(encoding="utf-8"))


def tally(groups: tuple[TensorGroup, ...]) -> Counter[tuple[str, tuple[int, ...]]]:
    found = Counter[tuple[str, tuple[int, ...]]]()
    for group in groups:
        found[group.name, group.shape] += group.count
    return found


@pytest.mark.parametrize("model_type", WRITTEN)
def test_every_tensor_is_expected_and_no_other(model_type: str) -> None:
    row = WRITTEN[model_type]
    found = sections(row["config"])
    built = described(found)
    assert built is not None
    assert built.known
    prediction = len(built.layers)  # layers for multi-token prediction, which Transformers does not write
    groups = tuple(
        group
        for group in expected(found, built)
        if not group.name.startswith("mtp.") and (not group.layers or min(group.layers) < prediction)
    )
    assert tally(groups) == {(name, tuple(shape)): count for name, shape, count in row["tensors"]}
