"""Typer's commands and groups as lyc uses them: quick to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click import Context  # the type alone; Typer offers no public name for it
    from typer.core import TyperOption


class Command(TyperCommand):
    """A verb. See `quick` and `Untouched`."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return quick(super().get_help_option(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """As Typer does, with `Untouched` in the place of converters that are not made yet."""
        for param in self.params:
            if getattr(param, "_runtime_param", self) is None:  # where Typer keeps its converter, made when first used
                param._runtime_param = Untouched()  # type: ignore[attr-defined]
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A verb of verbs. See `quick`."""

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return quick(super().get_help_option(ctx))


class Untouched:
    """A converter that hands on what needs no conversion: a value that was not given, and texts.

    Typer converts with pydantic, which takes a tenth of a second to import. All else goes to Typer's own converter.
    """

    def coerce(self, value: Any, param: Any, ctx: Context) -> Any:
        """The value as the verb takes it. param: Typer's parameter. Raises what Typer's converter raises."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if param.type_descriptor.annotation is str and isinstance(value, str):
            return value
        if param.type_descriptor.annotation == list[str] and isinstance(value, list | tuple):
            return list(value)
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def quick(option: TyperOption | None) -> TyperOption | None:
    """The same option with a default that needs no conversion.

    Typer converts with pydantic, which takes a tenth of a second to import, whatever is not a bool already; its own
    --help is None by default, so that without this even `lyc ls` would wait for it.
    """
    if option is not None and option.default is None:
        option.default = False
    return option
