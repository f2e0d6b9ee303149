"""The command ``browsermount``: its subcommands, and what becomes of errors."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from browsermount import __version__
from browsermount.cli.printable import printable
from browsermount.errors import BrowsermountError

OUR_FAILURE = 125
"""The exit code of everything that fails before a container's process runs, as docker has it."""

_COMMANDS = {
    "run": "run",
    "inspect": "inspect",
    "ls": "ls",
    "cat": "cat",
    "export": "export",
    "pull": "pull",
    "convert": "convert",
    "serve": "serve",
    "build-site": "build_site",
    "9p": "ninep",
    "gateway": "gateway",
    "cache": "cache",
}


class _Commands(click.Group):
    """Loads a subcommand's module when it is asked for: most of them need much of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"browsermount.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="For a command's own help: browsermount COMMAND --help",
)
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.version_option(__version__, prog_name="browsermount")
def command(debug: bool) -> None:
    """Run, look into, serve and convert container images where no container engine is.

    IMAGE is a directory that holds an OCI image layout, an OCI or "docker save" archive, the
    URL of a layout, or a registry's name such as localhost:5000/debian:bookworm. Where there
    are several images in a layout or archive, #NAME chooses one.
    """


_ENDING = (signal.SIGTERM, signal.SIGHUP)


class _Ended(SystemExit):
    """A signal asks for an end: what is temporary is removed on the way out.

    An event loop passes on what is a SystemExit, whatever it was doing.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(self.exit_code)


def _end(number: int, frame: FrameType | None) -> None:
    # Once: another one must not keep what is temporary from being removed. SIGINT still may.
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise _Ended(number)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Have signals that end this process raise an error instead, for as long as it takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as by nohup
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with _ending_in_order():
            result = command.main(
                args=list(arguments), prog_name="browsermount", standalone_mode=False
            )
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except _Ended as ended:
        return ended.exit_code
    except (BrokenPipeError, SystemExit):
        # The latter is what click makes of the former.
        # Python flushes standard output once more at its end, and must not fail then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except Exception as error:
        if _debugging(arguments):
            for line in traceback.format_exc().splitlines():
                print(printable(line), file=sys.stderr)
        return _report(error)


def _debugging(arguments: Sequence[str]) -> bool:
    """Tell whether --debug stands before the subcommand."""
    first = next((i for i, text in enumerate(arguments) if not text.startswith("-")), None)
    return "--debug" in arguments[:first]


def _report(error: Exception) -> int:
    """Say in one line what is wrong, and return the exit code."""
    message: Any
    code = OUR_FAILURE
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message, hint = error.format_message(), f"See {error.ctx.command_path} --help."
    elif isinstance(error, click.ClickException):
        message, hint = error.format_message(), ""
    elif isinstance(error, BrowsermountError):
        code = getattr(error, "exit_code", OUR_FAILURE)
        message, hint = error.message, error.hint
    elif isinstance(error, OSError):
        names = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        message, hint = f"{names}{error.strerror or error}", ""
    else:
        message = f"internal error: {type(error).__name__}: {error}"
        hint = "Run it again as: browsermount --debug ..."
    # One line, also where click gives a list.
    message = " ".join(str(message).split()).rstrip(".")
    print(printable(f"browsermount: {message}. {hint}".rstrip()), file=sys.stderr)
    return code
