"""Hosts as a user writes them: one, or a list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from lyc.errors import SpecError, UsageError
from lyc.spec.host_address import is_address, parse_address


def _listed(value: object) -> object:
    """One is a list of one; each once."""
    hosts = [value] if isinstance(value, str) else value
    if not isinstance(hosts, list) or not all(isinstance(one, str) for one in hosts):
        return hosts
    names = [str(one).strip() for one in hosts]
    if not all(names):
        raise PydanticCustomError("host", "a host has no name")
    if twice := [one for one in names if names.count(one) > 1]:
        raise PydanticCustomError("host", "{host} is named twice", {"host": twice[0]})
    return names


Hosts = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


def host(written: str, place: str) -> str:
    """As written; an address is known to be one. Raises SpecError as `parse_address`."""
    if is_address(written):
        try:
            parse_address(written, where=place)
        except UsageError as problem:
            wrong = SpecError(problem.ref, problem.what, why=problem.why, where=place, hint=problem.hint)
            raise wrong from problem
    return written.strip()
