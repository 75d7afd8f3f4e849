"""The page of the commands, from the functions that run them: what each does, takes and answers with."""

from __future__ import annotations

import inspect
import typing
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from typer.models import ArgumentInfo, OptionInfo

from streamgauge.cli.main import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamgauge.cli.main import Command

_HEAD: Final = """Each ends with status 0, 1 (the answer is no, or something could not be done) or 2 (wrong usage or
configuration). Data goes to standard output, words to standard error; a fault is one line that says what, where and how
to mend it. `streamgauge COMMAND --help` says what stands here. Settings come from the environment:
[51-settings.md](51-settings.md)."""


class Parameter(NamedTuple):
    """One argument or option as a person types it."""

    words: str
    default: str
    meaning: str


def commands_page(written: str) -> str:
    """Return the page of all commands; ``written`` is the line that says how it came about."""
    lines = ["# Commands", "", written, "", *_HEAD.splitlines(), ""]
    lines += ["| command | does |", "| --- | --- |"]
    lines += [f"| [`{each.name}`](#{each.name}) | {each.summary} |" for each in COMMANDS]
    for command in COMMANDS:
        lines += ["", f"## {command.name}", "", *_section(command)]
    return "\n".join(lines) + "\n"


def _section(command: Command) -> Iterator[str]:
    function = inspect.unwrap(command.load())
    words, _, examples = (inspect.getdoc(function) or "").partition("\n\nExamples:\n")
    arguments = [each for each in parameters(function) if not each.words.startswith("`-")]
    synopsis = " ".join(each.words.strip("`") for each in arguments)
    yield f"    streamgauge {command.name} [OPTIONS] {synopsis}".rstrip()
    yield ""
    yield from words.splitlines()
    yield ""
    found = list(parameters(function))
    if found:
        yield from ("| parameter | default | meaning |", "| --- | --- | --- |")
        yield from (f"| {each.words} | {each.default} | {each.meaning} |".replace("|  |", "| |") for each in found)
        yield ""
    yield "```console"
    yield from (f"$ {line.strip()}" for line in examples.splitlines() if line.strip())
    yield "```"


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """Yield the arguments and options of a command's function, in the order they are declared."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *marks = typing.get_args(hints[name])
        info = next(each for each in marks if isinstance(each, ArgumentInfo | OptionInfo))
        meaning = (info.help or "").replace("|", "\\|")
        choices = _choices(kind)
        if choices:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        if isinstance(info, ArgumentInfo):
            yield Parameter(f"`{info.metavar or name.strip('_').upper()}`", _default(parameter.default), meaning)
            continue
        # In an annotation, typer takes the first spelling for a default.
        spelled = [each for each in (info.default, *(info.param_decls or ())) if str(each).startswith("-")]
        spelled = spelled or [f"--{name.strip('_').replace('_', '-')}"]
        value = "" if _plain(kind) is bool else f" {info.metavar or _placeholder(kind)}"
        yield Parameter(", ".join(f"`{each}{value}`" for each in spelled), _default(parameter.default), meaning)


def _plain(kind: Any) -> Any:
    """Return a type without "or None"."""
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return next(each for each in typing.get_args(kind) if each is not NoneType)
    return kind


def _placeholder(kind: Any) -> str:
    names = {int: "N", float: "N", str: "TEXT"}
    plain = _plain(kind)
    if typing.get_origin(plain) is list:
        plain = typing.get_args(plain)[0]
    if isinstance(plain, type) and issubclass(plain, Enum):
        return "WORD"
    return names.get(plain, "PATH" if getattr(plain, "__name__", "") == "Path" else "TEXT")


def _choices(kind: Any) -> list[str]:
    plain = _plain(kind)
    return [str(each.value) for each in plain] if isinstance(plain, type) and issubclass(plain, Enum) else []


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "(required)"
    if value is None or value is False or value == []:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"
