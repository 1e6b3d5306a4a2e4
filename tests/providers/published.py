"""What a provider publishes of its API, trimmed to the calls that lyc makes, and whether a request keeps to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lyc.testing.clouds.core import Call

_FOLDER = Path(__file__).parent / "openapi"


class Published:
    """One document of `openapi/`. base: what comes before its paths in the fake's."""

    def __init__(self, name: str, base: str = "") -> None:
        self._document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
        self._base = base

    def check(self, calls: Iterable[Call]) -> int:
        """How many calls were looked at. AssertionError for the first that the document does not allow.

        A body's field or a query's parameter that it does not name counts as an error: lyc would send it in vain.
        """
        count = 0
        for call in calls:
            if call.path.startswith(self._base):
                self._check(call)
                count += 1
        return count

    def validate(self, name: str, value: object) -> None:
        """Raises where a value is not as the schema of that name says."""
        _validate(value, {**self.schema(name), "components": self._document["components"]})

    def schema(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._document["components"]["schemas"][name]
        return found

    def _check(self, call: Call) -> None:
        operation = self._operation(call.method, call.path.removeprefix(self._base))
        known = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}
        assert set(call.query) <= set(known), f"{call.op}: the query {set(call.query) - set(known)} is not known"
        for name, value in call.query.items():
            _validate(_typed(value, known[name]["schema"]), known[name]["schema"])
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            assert call.body is None, f"{call.op}: no body is expected"
            return
        schema = self._resolved(content["schema"])
        _validate(call.body, {**schema, "components": self._document["components"]})
        extra = set(call.body) - set(schema["properties"])
        assert not extra, f"{call.op}: the fields {extra} are not known"

    def _operation(self, method: str, path: str) -> Mapping[str, Any]:
        for pattern, methods in self._document["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) and method.lower() in methods:
                return methods[method.lower()]
        raise AssertionError(f"{method} {path} is not published")

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = schema.get("$ref")
        return schema if reference is None else self._document["components"]["schemas"][reference.rsplit("/", 1)[1]]


def _validate(value: object, schema: Mapping[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(value, schema)


def _typed(text: str, schema: Mapping[str, Any]) -> object:
    if schema.get("type") in ("integer", "number") and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text, text) if schema.get("type") == "boolean" else text
