"""Rows ↔ records. Nested values (spec, plan, error, request, facts) are JSON text in one column."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")
_NESTED = frozenset({
    "spec", "plan", "error", "request", "result", "data", "reported", "facts", "fingerprints", "devices",
    "offer", "extra", "policy", "scaler", "detail",
})  # fmt: skip


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def to_row(record: object) -> dict[str, Any]:
    """A frozen record as column values."""
    row: dict[str, Any] = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        row[field.name] = to_column(value)
    return row


def to_column(value: Any) -> Any:
    """One value as its column holds it: records and dicts as JSON text, decimals as text."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    if isinstance(plain, Decimal):
        return str(plain)
    return json.dumps(plain, default=_plain, sort_keys=True) if isinstance(plain, dict | tuple | list) else plain


def _plain(value: object) -> object:
    """What JSON has no word for."""
    return sorted(value, key=str) if isinstance(value, frozenset | set) else str(value)


def from_row(cls: type[T], row: Mapping[str, Any]) -> T:
    """The record that `to_row` wrote; columns that it does not have are ignored. A nested value that an older lyc did
    not write is the default one.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {
        name: json.loads(value) if name in _NESTED and value is not None else value
        for name, value in row.items()
        if name in fields and not (value is None and fields[name].default_factory is not dataclasses.MISSING)
    }
    record: T = _adapter(cast("Any", cls)).validate_python(values)
    return record
