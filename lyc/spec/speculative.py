"""Speculative decoding as its user writes it: a table, or `METHOD[:MODEL][,tokens=N]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

METHODS = ("ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix")
NEED_DRAFT = frozenset({"draft_model", "eagle", "eagle3"})


def as_table(value: object) -> object:
    """`METHOD[:MODEL][,tokens=N]` → the table it stands for."""
    if not isinstance(value, str):
        return value
    head, *options = value.split(",")
    method, _, model = head.partition(":")
    table: dict[str, object] = {"method": method.strip().replace("-", "_")}
    if model:
        table["model"] = model
    for option in options:
        key, _, number = option.partition("=")
        if key.strip() != "tokens" or not number.strip().isdecimal():
            raise PydanticCustomError(
                "speculative", "{option} is not tokens=N; the form is METHOD[:MODEL][,tokens=N]", {"option": option}
            )
        table["tokens"] = int(number)
    return table


class Written(BaseModel):
    """A table of lyc.toml: nothing in it that is not known, and nothing turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SpeculativeTable(Written):
    """Speculative decoding: a small model or a lookup proposes tokens, the large one checks them."""

    method: Annotated[
        Literal["ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix"],
        BeforeValidator(lambda value: value.replace("-", "_") if isinstance(value, str) else value),
    ] = Field(description="How tokens are proposed.")
    model: str | None = Field(None, min_length=1, description="The draft, for draft_model, eagle and eagle3.")
    tokens: int | None = Field(None, ge=1, le=64, description="Tokens proposed a step; left out: the method's default.")

    @model_validator(mode="after")
    def draft_where_needed(self) -> SpeculativeTable:
        if self.method in NEED_DRAFT and self.model is None:
            raise PydanticCustomError(
                "speculative",
                "{method} needs a model: {method}:MODEL, or model = … in lyc.toml",
                {"method": self.method},
            )
        if self.method not in NEED_DRAFT and self.model is not None:
            raise PydanticCustomError("speculative", "{method} takes no model", {"method": self.method})
        return self
