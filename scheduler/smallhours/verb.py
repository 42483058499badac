"""What a command of the command line is: its words, its arguments, what carries it out.

A command is carried out by ``function(home, **arguments)``, which returns the exit code; its module
is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

Group: TypeAlias = Literal["run", "queue", "look", "keep house"]

#: What a command does with its output. ``prints``: it has JSON of its own and gets ``as_json`` and
#: ``out``. ``says``: it says in sentences what it did; with ``--json`` these are wrapped. ``bare``:
#: it has no JSON.
Output: TypeAlias = Literal["prints", "says", "bare"]

#: What a shell may complete an argument with.
Names: TypeAlias = Literal["", "studies", "trials", "studies or trials", "study files"]


class Argument(NamedTuple):
    """One argument, as `argparse` takes it."""

    #: Its name, or its options (``-n``, ``--lines``).
    flags: tuple[str, ...]
    #: The other arguments of `ArgumentParser.add_argument`.
    details: Mapping[str, Any]
    #: What it names.
    names: Names = ""
    #: The words that it may be, or that mean something particular.
    words: tuple[str, ...] = ()

    @property
    def is_option(self) -> bool:
        """Whether it is given by name."""
        return self.flags[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a word follows the option."""
        return self.is_option and not str(self.details.get("action", "")).startswith("store_")


class Verb(NamedTuple):
    """One command."""

    name: str
    group: Group
    #: What it does, for the list of all commands: no capital, no full stop.
    text: str
    #: ``module:function``, the module below `smallhours.commands`.
    handler: str
    arguments: tuple[Argument, ...] = ()
    output: Output = "says"

    @property
    def has_json(self) -> bool:
        """Whether it takes ``--json``."""
        return self.output != "bare"

    @property
    def options(self) -> list[str]:
        """The options it takes."""
        own = [flag for argument in self.arguments if argument.is_option for flag in argument.flags]
        return [*own, *(["--json"] if self.has_json else []), "--help"]

    def load(self) -> Callable[..., int]:
        """Import and return what carries the command out."""
        module, _, function = self.handler.partition(":")
        loaded: Callable[..., int] = getattr(
            import_module(f"smallhours.commands.{module}"), function
        )
        return loaded


def arg(*flags: str, names: Names = "", words: tuple[str, ...] = (), **details: Any) -> Argument:
    """Declare an argument that is, or takes, a word; `details` as `argparse` has them."""
    return Argument(flags, details, names, words)


def flag(*flags: str, **details: Any) -> Argument:
    """Declare an option that is there or not."""
    return Argument(flags, {"action": "store_true", **details})


def at_least_1(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(f"expected 1 or more, got {text!r}")
    return int(text)
