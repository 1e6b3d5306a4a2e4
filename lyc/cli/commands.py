"""Typer's commands and groups as lyc uses them: quick to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click import Context  # the type alone; Typer offers no public name for it
    from typer.core import TyperOption


class Command(TyperCommand):
    """A verb. See `quick`."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return quick(super().get_help_option(ctx))


class Group(TyperGroup):
    """A verb of verbs. See `quick`."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return quick(super().get_help_option(ctx))


def quick(option: TyperOption | None) -> TyperOption | None:
    """The same option with a default that needs no conversion.

    Typer converts with pydantic, which takes a tenth of a second to import, whatever is not a bool already; its own
    --help is None by default, so that without this even `lyc ls` would wait for it.
    """
    if option is not None and option.default is None:
        option.default = False
    return option
