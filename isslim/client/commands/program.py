"""How commands are registered, how their help is laid out, and how what they raise is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from isslim.client.commands import exits
from isslim.client.commands.answers import console
from isslim.client.forms import DamagedDownload, ProblemError, Unreachable, WrongSetting
from isslim.client.hub import SharingFailed
from isslim.client.pulling import NothingToPull
from isslim.client.transport import KEY
from isslim.types.hiding import shown_value, without_credentials

UsageError: Any = typer.BadParameter.__base__
"""Of the library below typer, which has it under a private name."""
Function = TypeVar("Function", bound=Callable[..., None])
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help has a section for each group of options."""

    def invoke(self, context: Any) -> Any:
        """Runs the command, unless a word of the command line is not UTF-8.

        Such bytes arrive as surrogates, which no request can hold.
        """
        parameter: Any
        for parameter in self.get_params(context):
            value = context.params.get(parameter.name)
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str | Path) and any(
                    "\ud800" <= sign <= "\udfff" for sign in str(each)
                ):
                    shown = os.fsencode(each).decode(errors="backslashreplace")
                    message = f"'{shown_value(shown)}' is not UTF-8"
                    raise typer.BadParameter(message, ctx=context, param=parameter)
        return super().invoke(context)

    def format_options(self, context: Any, formatter: Any) -> None:
        """Writes arguments and options; a parameter names its section as its `rich_help_panel`.

        Args:
            context: of the command.
            formatter: to write to.
        """
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                section = getattr(parameter, "rich_help_panel", None)
                named = section or ("Arguments" if is_argument else "Options")
                sections.setdefault(named, []).append(record)
        # The few options that every command has come last.
        for section in sorted(sections, key=lambda each: each == "Options"):
            with formatter.section(section):
                formatter.write_dl(sections[section])


class Listing(TyperGroup):
    """A group of commands whose bare name means its command `list`, with all its options."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        """Puts `list` before options that no command precedes.

        Args:
            context: of the group.
            args: its words on the command line.
        """
        bare = not args or (args[0].startswith("-") and args[0] not in context.help_option_names)
        if bare and not context.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(context, args)


class Program(TyperGroup):
    """All commands; what they raise for reasons of the user's is said in words on stderr."""

    def invoke(self, context: Any) -> Any:
        """Runs the command; an expected error ends it with a code of `exits`."""
        try:
            return super().invoke(context)
        except ProblemError as error:
            _say_problem(error)
            raise typer.Exit(exits.REFUSED) from error
        except (DamagedDownload, NothingToPull, SharingFailed) as error:
            _say(str(error))
            raise typer.Exit(exits.REFUSED) from error
        except ValidationError as error:
            _say(f"what answers is no isslim service, or one of another version: {error}")
            raise typer.Exit(exits.UNREACHABLE) from error
        except WrongSetting as error:
            _say(str(error))
            raise typer.Exit(exits.USAGE) from error
        except Unreachable as error:
            _say(str(error))
            raise typer.Exit(exits.UNREACHABLE) from error
        except KeyboardInterrupt as error:
            _say("interrupted")
            raise typer.Exit(exits.INTERRUPTED) from error
        except UsageError as error:
            # typer's words for a value of another type are those of its library, and it quotes what
            # it does not expect: an address may stand where a name belongs.
            message = error.message.removeprefix("Value error, ").partition(", unable to parse")[0]
            error.message = without_credentials(message.replace("Input should be", "expected", 1))
            raise
        except BrokenPipeError:
            raise  # whoever read the output has had enough: typer ends quietly
        except OSError as error:
            _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            raise typer.Exit(exits.REFUSED) from error


def command(group: typer.Typer, name: str) -> Callable[[Function], Function]:
    """Registers a function as a command.

    Args:
        group: the program, or a group of commands.
        name: that it is called by.
    """
    return group.command(name, cls=Command, epilog=exits.EPILOG, context_settings=HELP_OPTIONS)


def group_of(description: str, *, lists: bool = True) -> typer.Typer:
    """A group of commands.

    Args:
        description: in its help.
        lists: whether one of them is `list`, which its bare name means.
    """
    return typer.Typer(
        help=description,
        cls=Listing if lists else TyperGroup,
        no_args_is_help=not lists,
        epilog=exits.EPILOG,
        rich_markup_mode=None,
        context_settings=HELP_OPTIONS,
    )


def _say(text: str) -> None:
    console(is_error=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _say_problem(error: ProblemError) -> None:
    """A problem document in words; an issue that its detail already names is not repeated."""
    lines = [f"[red]{error.kind}:[/] {escape(error.detail)}"]
    for issue in error.errors:
        message = str(issue.get("detail", ""))
        if message and message in error.detail:
            continue
        lines.append(escape(f"  - {issue.get('pointer', '')} {message}".rstrip()))
    if error.kind == "unauthenticated":
        lines.append(f"{KEY} holds the key, or a file that `isslim --key-file FILE ...` names")
    console(is_error=True).print("\n".join(lines), highlight=False, soft_wrap=True)


def run(app: typer.Typer) -> None:
    """Runs the program with the process's arguments.

    Args:
        app: the program.
    """
    # A stream that is closed is None, which no library expects; what goes there is not wanted.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    # A name may hold characters that an old terminal cannot show; that is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
