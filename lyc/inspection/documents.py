"""A JSON file of a model, or the error with its line and column."""

from __future__ import annotations

import json

from lyc.errors import SpecError
from lyc.inspection.safetensors_header import Read
from lyc.records.model import SourceFile


def read_object(file: SourceFile, read: Read) -> dict[str, object]:
    """The JSON object in `file`. SpecError `invalid-json` with `file:line:column`."""
    data = read(file, 0, None)
    try:
        found = json.loads(data)
    except json.JSONDecodeError as error:
        raise _invalid(file, error.msg, f":{error.lineno}:{error.colno}") from error
    except (ValueError, RecursionError) as error:  # not Unicode, or nested beyond reason
        raise _invalid(file, str(error) or type(error).__name__, "") from error
    if not isinstance(found, dict):
        raise _invalid(file, f"it holds a {type(found).__name__}, and an object is needed", ":1:1")
    return found


def _invalid(file: SourceFile, why: str, place: str) -> SpecError:
    return SpecError(
        "invalid-json",
        f"{file.path} is not the JSON it must be",
        why=why,
        where=f"{file.path}{place}",
        hint=f"python -m json.tool {file.path}",
    )
