"""The application that commands are registered with, and how a command line is run.

(Annotations are not postponed here: typer reads those of a function inside another.)
"""

import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Self

import typer

import dissector
from dissector.errors import DissectorError
from dissector.source import keep_freed


def application(name: str, about: str) -> typer.Typer:
    """A program of this project: its commands are registered with it; --version and help are there."""
    made = typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show(wanted: bool) -> None:
        if wanted:
            print(f"{name} {dissector.__version__}")
            raise typer.Exit

    @made.callback()
    def options(
        version: Annotated[bool, typer.Option("--version", callback=show, is_eager=True, help="Show it.")] = False,
    ) -> None:
        pass

    return made


app = application(
    "dissector",
    "Shows what Outlook and Exchange really said: reads a capture and decodes its MAPI traffic to the last byte.",
)


def keep_only(application: typer.Typer, named: Sequence[str]) -> None:
    """Forget the other commands where one is named: typer takes as long to put all together as a small capture does."""
    commands = application.registered_commands
    chosen = [one for one in commands if (one.name or getattr(one.callback, "__name__", "")) in named]
    application.registered_commands = chosen or commands


COLLECT = (100_000, 20, 100)
"""When the garbage collector looks for cycles: seldom. A reading makes millions of objects and hardly a cycle."""


class Closed(io.TextIOBase):
    """Stands in for a standard output that was closed before the program began (`>&-`): nothing can be written."""

    encoding, errors = "utf-8", "strict"

    def write(self, text: str) -> int:
        raise DissectorError("cannot write the output: standard output is closed")

    @property
    def buffer(self) -> Self:
        return self


def run(application: typer.Typer, name: str) -> None:
    """Run a command line: errors become one line and exit code 2, a closed pipe ends quietly."""
    sys.stdout = sys.stdout or Closed()
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    gc.set_threshold(*COLLECT)
    keep_freed()
    commands = application.registered_commands
    keep_only(application, sys.argv[1:2])
    try:
        application()
        sys.stdout.flush()
    except DissectorError as error:
        sys.stdout.flush()
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        application.registered_commands = commands
