"""Typer's commands come in, the page that lists every command with its arguments and options goes out."""

import inspect
import re
from enum import Enum
from typing import Any

from typer.main import get_command

import omni
from site_builder.markdown import code, table, text


def body() -> str:
    """A section per command, in the order of `omni --help`."""
    parts = ["How they fit together, their exit codes and `make`: [Commands](../commands.md)."]
    for words, command in _commands(get_command(omni.app), ()):
        parts.append(f"## omni {words}\n\n{_help(command)}\n\n{_usage(words, command)}\n\n{_options(command)}".rstrip())
    return "\n\n".join(parts)


def _commands(group: Any, before: tuple[str, ...]) -> list[tuple[str, Any]]:
    known: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        words = (*before, name)
        known += _commands(command, words) if hasattr(command, "commands") else [(" ".join(words), command)]
    return known


def _help(command: Any) -> str:
    """What the command says of itself; paragraphs as they are, an example's lines as code."""
    said = inspect.cleandoc(command.help or command.short_help or "").replace("\b\n", "").split("\f")[0]
    paragraphs = [re.sub(r"\s*\n\s*", " ", part) for part in said.split("\n\n")]
    return "\n\n".join(text(re.sub(r"\[/?[a-z]+\]", "", part)) for part in paragraphs)


def _usage(words: str, command: Any) -> str:
    arguments = [_name(param) if param.required else f"[{_name(param)}]" for param in _arguments(command)]
    return f"```sh\nomni {' '.join([words, *arguments, '[OPTIONS]'])}\n```"


def _options(command: Any) -> str:
    rows = [(code(_name(param)), text(_words(param))) for param in _arguments(command)]
    rows += [
        (", ".join(code(name) for name in (*param.opts, *param.secondary_opts)), text(_words(param)))
        for param in command.params
        if param.param_type_name == "option" and "--help" not in param.opts and not getattr(param, "hidden", False)
    ]
    return table(("option", "what it says"), rows)


def _arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _words(param: Any) -> str:
    """The help of an option, and what it may be, where that is a list."""
    kind = param.type_descriptor.annotation
    is_choice = isinstance(kind, type) and issubclass(kind, Enum)
    may_be = f" One of: {', '.join(str(choice.value) for choice in kind)}." if is_choice else ""
    said, _, stated = (param.help or "").partition("[default: ")
    default = getattr(param.default, "value", param.default)
    is_plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    known = stated.rstrip("]. ") or (str(default) if is_plain else "")
    return f"{said.strip()}{may_be}{f' Default: `{known}`.' if known else ''}".strip()
