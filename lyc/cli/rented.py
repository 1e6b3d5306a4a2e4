"""What a rented machine costs, in the words of every verb that says it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyc.control.rent_documents import RentedDocument


def price(one: RentedDocument, *, moment: str = "%Y-%m-%d %H:%M") -> str:
    """`4.58 USD an hour, until 2026-11-22 18:00`. moment: how the end is written, if it has one."""
    end = None if one["until"] is None else datetime.fromtimestamp(one["until"]).astimezone()
    until = "" if end is None else f", until {end.strftime(moment)}"
    return f"{Decimal(one['per_hour']):.2f} {one['currency']} an hour{until}"
