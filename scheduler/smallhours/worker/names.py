"""Finds names that a study's functions use and nothing defines, before a night is lost to one."""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

#: Code that only runs when somebody asks for annotations (Python 3.14), which nobody here does.
_LAZY = frozenset({"__annotate__"})


class Undefined(NamedTuple):
    """A global name that would raise `NameError` where it is used."""

    name: str
    line: int
    #: The function that uses it.
    function: str
    #: Names of the function's own.
    own: tuple[str, ...]


def undefined(module: ModuleType) -> Undefined | None:
    """Return the first name, by line, that the module's functions use and nothing defines.

    The module must have been imported. A name counts as defined where any function of the file
    assigns it as a global, and nothing is reported in a function that deals with `NameError`.
    """
    functions = [
        value.__code__
        for value in _values(module)
        if isinstance(value, FunctionType) and value.__code__.co_filename == module.__file__
    ]
    codes = [code for function in functions for code in _nested(function)]
    known = {*vars(module), *vars(builtins)}
    for code in codes:
        known |= {use.argval for use in dis.get_instructions(code) if use.opname == "STORE_GLOBAL"}
    found = [
        Undefined(name, line, code.co_name, code.co_varnames)
        for code in codes
        if "NameError" not in code.co_names
        for name, line in _globals(code)
        if name not in known
    ]
    return min(found, key=lambda use: use.line, default=None)


def _values(module: ModuleType) -> Iterator[object]:
    """Yield what the module holds, and what its classes hold."""
    for value in vars(module).values():
        yield getattr(value, "__wrapped__", value)
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield from vars(value).values()


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_name not in _LAZY:
            yield from _nested(constant)


def _globals(code: CodeType) -> Iterator[tuple[str, int]]:
    """Yield the global names that a function reads, each with its line."""
    line = code.co_firstlineno
    for use in dis.get_instructions(code):
        if use.positions is not None and use.positions.lineno is not None:
            line = use.positions.lineno
        if use.opname == "LOAD_GLOBAL":
            yield use.argval, line
