"""What may be rented for a deployment, as its user writes it: the table `rent` of lyc.toml, or flags."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lyc.errors import UsageError
from lyc.records.deployment import RentWish
from lyc.spec.money import parse_hourly
from lyc.spec.residency import parse_residency
from lyc.units import parse_bytes, parse_duration


class RentTable(BaseModel):
    """What may be rented, where no machine is named."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    providers: list[str] = Field(
        default_factory=list, description="Only of these; left out: of all that there is a credential for."
    )
    residency: str | None = Field(None, description="Where the data may be: eu, eea, or countries such as de,fi.")
    sovereign: bool = Field(False, description="Only of providers whose owner answers to no law outside the EEA.")
    max_price: str | None = Field(None, description="The most that a machine may cost for an hour: 3.50EUR.")
    spot: bool = Field(False, description="Also machines that the provider may take back.")
    ttl: str | None = Field(None, description="Everything is taken down after so long: 8h.")
    ready_timeout: str | None = Field(None, description="A machine that does not serve by then is given back: 30m.")
    disk: str | None = Field(None, description="Disk that the machine has at least: 200GB; left out: what is needed.")

    @field_validator("residency", "max_price", "ttl", "ready_timeout", "disk")
    @classmethod
    def readable(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Said in the words of whoever reads it in the end."""
        readers: dict[str, Callable[[str], object]] = {
            "residency": parse_residency,
            "max_price": lambda text: parse_hourly(text, where="--max-price"),
            "disk": parse_bytes,
        }
        if value is not None:
            try:
                if readers.get(str(info.field_name), parse_duration)(value) == 0:
                    raise ValueError(f"{value!r} is nothing")
            except (ValueError, UsageError) as problem:
                why = problem.why or problem.what if isinstance(problem, UsageError) else str(problem)
                raise PydanticCustomError("rent", "{why}", {"why": why}) from problem
        return value


def rent_wish(table: RentTable) -> RentWish:
    """The wish of a table that was found valid."""
    return RentWish(
        providers=tuple(dict.fromkeys(table.providers)),
        residency=table.residency,
        sovereign=table.sovereign,
        max_price=table.max_price,
        spot=table.spot,
        ttl=None if table.ttl is None else parse_duration(table.ttl),
        ready_timeout=None if table.ready_timeout is None else parse_duration(table.ready_timeout),
        disk=None if table.disk is None else parse_bytes(table.disk),
    )
