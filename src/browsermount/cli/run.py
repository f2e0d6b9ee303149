"""``browsermount run``: an image in the terminal, in a virtual machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import click

from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
)
from browsermount.cli.machine import Machine, MachineFailure
from browsermount.cli.printable import printable
from browsermount.cli.site import machine_files
from browsermount.cli.sizes import read_size
from browsermount.cli.sockets import Publication, Rules
from browsermount.cli.terminal import raw, window_size
from browsermount.errors import BrowsermountError
from browsermount.interpreters import install, interpreter_for
from browsermount.local.files import FileFetcher
from browsermount.machines import MachineKind, choose_machine, machine_for, runnable
from browsermount.mount import Mount
from browsermount.network.addresses import HOST, to_text
from browsermount.oci.platform import Platform
from browsermount.runtime.spec import ProcessOptions

_MIN_MEMORY_MIB = 128
_MAX_MEMORY_MIB = 2047

_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_MAX_EXIT_CODE = 255
_FULL = (
    "little room is left for what the container writes to files, which is kept in memory: "
    "remove files there, or give it more with --memory, such as --memory 1g"
)
_ENDING = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3
"""So many of the signals that ask for an end are one too many, as for docker."""


class PortUnavailable(BrowsermountError):
    """A port of this machine's that was asked for is taken, or not ours to take."""

    code = "port"


@dataclass(frozen=True, slots=True)
class _Streams:
    """What the process has to do with our standard streams."""

    terminal: bool
    input: bool


def _read_memory(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        mib = read_size(value) >> 20
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if not _MIN_MEMORY_MIB <= mib <= _MAX_MEMORY_MIB:
        raise click.BadParameter(
            f"{value} is not between {_MIN_MEMORY_MIB}m and {_MAX_MEMORY_MIB}m", ctx, param
        )
    return mib


def _read_publications(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[Publication]:
    return [_read_publication(value, ctx, param) for value in values]


def _read_publication(value: str, ctx: click.Context, param: click.Parameter) -> Publication:
    ports, _, protocol = value.partition("/")
    address, _, outer = ports.rpartition(":")[0].rpartition(":")
    inner = ports.rpartition(":")[2]
    port, target = (int(text) if text.isdecimal() else 0 for text in (outer, inner))
    if protocol not in {"", "tcp", "udp"} or not 0 < port < 1 << 16 or not 0 < target < 1 << 16:
        raise click.BadParameter(
            f"{value!r} is not of the form [ADDRESS:]PORT:PORT[/udp], such as 8080:80", ctx, param
        )
    try:
        where = str(ip_address(address.strip("[]"))) if address else "127.0.0.1"
    except ValueError:
        raise click.BadParameter(f"{address!r} is not an IP address", ctx, param) from None
    return Publication(where, port, target, udp=protocol == "udp")


def _read_hosts(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]]:
    hosts = []
    for value in values:
        name, _, text = value.partition(":")
        try:
            address = to_text(HOST) if text == "host-gateway" else str(ip_address(text))
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is not of the form NAME:ADDRESS, such as box:192.0.2.1", ctx, param
            ) from None
        if not name or not name.isprintable() or any(map(str.isspace, name)):
            raise click.BadParameter(f"{name!r} is not a name", ctx, param)
        hosts.append((name, address))
    return hosts


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="Pass on what is typed.")
@click.option("-t", "--tty", is_flag=True, help="Give the process a terminal.")
@click.option(
    "-e",
    "--env",
    "environment",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable; without a value, to what it is here.",
)
@click.option("-u", "--user", metavar="USER[:GROUP]", help="Run as this user, by name or number.")
@click.option("-w", "--workdir", metavar="DIR", help="Start in this directory of the image.")
@click.option("--entrypoint", metavar="PROGRAM", help="Run this in the place of the image's own.")
@click.option("--hostname", metavar="NAME", help="The container's host name.")
@click.option(
    "--network",
    type=click.Choice(["none", "public", "all"]),
    default="public",
    show_default=True,
    help="What can be reached: nothing, the internet, or also private networks and this machine, "
    "which is host.containers.internal there.",
)
@click.option(
    "-p",
    "--publish",
    "publications",
    multiple=True,
    metavar="[ADDRESS:]PORT:PORT[/udp]",
    callback=_read_publications,
    help="Make the container's port, the last one, reachable at a port here; by default at "
    "127.0.0.1 alone.",
)
@click.option(
    "--add-host",
    "hosts",
    multiple=True,
    metavar="NAME:ADDRESS",
    callback=_read_hosts,
    help="Give an address a name, in /etc/hosts; host-gateway is this machine's.",
)
@click.option(
    "-m",
    "--memory",
    metavar="SIZE",
    callback=_read_memory,
    help="The machine's memory, such as 1g; default: 512m, which starts fastest.",
)
@click.option(
    "--machine",
    type=click.Choice(["32", "64"]),
    help="The virtual machine, by its bits; default: 64 for images of amd64, else 32. On 64, a 386 "
    "image calculates as exactly as on a real processor, but is slower.",
)
@opening_options
@image_argument
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(
    opening: Opening,
    image: str,
    arguments: tuple[str, ...],
    interactive: bool,
    tty: bool,
    environment: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    entrypoint: str | None,
    hostname: str | None,
    network: str,
    publications: list[Publication],
    hosts: list[tuple[str, str]],
    memory: int | None,
    machine: str | None,
) -> int:
    """Run a program in an image.

    It runs in a virtual machine with an emulated CPU. ARG... is what to run in the place of the
    image's own command. Options for us stand before IMAGE. For a shell, give -it. Without -t,
    standard output and error are separate, and standard input is passed on where it is a pipe or a
    file.

    The exit code is the process's, or 128 and the number of the signal that ended it; 125 where
    we have failed, 126 and 127 where the program cannot be run or is not there.
    """
    streams = _streams(interactive, tty)
    rules = None if network == "none" else Rules(network == "all", publications)
    if publications and rules is None:
        raise click.UsageError("a container without a network has no ports: leave out -p")
    kind = choose_machine(machine)
    platforms = runnable(None if opening.platform is None else str(opening.platform), kind)
    options = ProcessOptions(
        entrypoint=None if entrypoint is None else tuple(filter(None, (entrypoint,))),
        args=arguments or None,
        env=tuple(_environment(environment)),
        user=user,
        working_dir=workdir,
        terminal=tty,
        network=rules is not None,
        hosts=tuple(hosts),
        **({} if hostname is None else {"hostname": hostname}),
    )
    return run_async(_run(opening, image, platforms, options, streams, kind, memory, rules))


def _streams(interactive: bool, tty: bool) -> _Streams:
    typed = sys.stdin is not None and sys.stdin.isatty()
    if interactive and tty and not typed:
        raise click.UsageError("the input device is not a terminal: leave out -t, or -i")
    return _Streams(tty, interactive or not (tty or typed))


def _environment(given: tuple[str, ...]) -> Iterator[str]:
    for text in given:
        if text.startswith("="):
            raise click.UsageError(f"{text!r} is not a variable: it has no name")
        if "=" in text:
            yield text
        elif text in os.environ:
            yield f"{text}={os.environ[text]}"


async def _run(
    opening: Opening,
    image: str,
    platforms: Sequence[Platform],
    options: ProcessOptions,
    streams: _Streams,
    wanted: MachineKind | None,
    memory: int | None,
    rules: Rules | None,
) -> int:
    def say(text: str) -> None:
        if not opening.quiet:
            # The terminal may be one that does not return to the line's beginning by itself.
            print(f"browsermount: {text}.", file=sys.stderr, end="\r\n", flush=True)

    signals = _Signals()
    with signals.caught():
        # It gets ready while the image is opened, which mostly is one for what was asked for.
        machine = await Machine.create(machine_for(platforms[0], wanted), memory)
        try:
            async with mounted(image, opening, platforms=platforms, options=options) as mount:
                kind = machine_for(mount.image.platform, wanted)
                if machine.kind != kind:
                    await machine.close()
                    machine = await Machine.create(kind, memory)
                await _add_interpreter(machine, mount, opening)
                if rules is not None:
                    await _connect(machine, rules, say)
                size = window_size() if streams.terminal else None
                await machine.start(mount, takes_input=streams.input, size=size)
                return await _follow(machine, signals, streams, say)
        except asyncio.CancelledError:
            if signals.ended_by is None:
                raise
            return 128 + signals.ended_by
        finally:
            await machine.close()


def _say_translation(platform: Platform, opening: Opening) -> None:
    """Tell a person, though no program that reads our output, why all takes longer."""
    if opening.quiet or not sys.stderr.isatty():
        return
    text = f"the image is for {platform}: its programs are translated, and run several times slower"
    print(f"browsermount: {printable(text)}.", file=sys.stderr, flush=True)


async def _connect(machine: Machine, rules: Rules, say: Callable[[str], None]) -> None:
    try:
        await machine.connect(rules, say)
    except OSError as error:
        raise PortUnavailable(
            f"port {error.filename} cannot be had: {error.strerror}",
            hint="Choose another one with -p, or end what uses it.",
        ) from None


async def _add_interpreter(machine: Machine, mount: Mount, opening: Opening) -> None:
    """Add to the tree what the machine needs for an image of another platform than its own."""
    interpreter = interpreter_for(mount.image.platform, machine.kind)
    if interpreter is not None:
        _say_translation(mount.image.platform, opening)
        base = machine_files(machine.kind).interpreters.as_uri() + "/"
        await install(mount.tree, interpreter, FileFetcher(), base)


async def _follow(
    machine: Machine, signals: _Signals, streams: _Streams, say: Callable[[str], None]
) -> int:
    """Do what the machine's messages ask for, until the process has ended."""
    with raw() as set_raw:
        async for message in machine.messages():
            if message["type"] == "stage" and message.get("stage") == "started":
                if streams.terminal and streams.input:
                    set_raw()
                signals.forward_to(machine, terminal=streams.terminal)
            elif message["type"] == "stage" and message.get("stage") == "full":
                say(_FULL)
            elif message["type"] == "exit":
                return _exit_code(message)
            elif message["type"] == "error":
                raise MachineFailure(str(message.get("message")), _exit_code(message))
            elif message["type"] == "closed":
                return 128 + signal.SIGPIPE
    raise MachineFailure("the virtual machine has gone away", 125)


def _exit_code(message: dict[str, Any]) -> int:
    """Return the exit code in a message.

    Raises:
        MachineFailure: It is none: whatever is in the machine may have written it.
    """
    code = message.get("code")
    if type(code) is not int or not 0 <= code <= _MAX_EXIT_CODE:
        raise MachineFailure("the virtual machine gives no exit code that there is", 125)
    return code


class _Signals:
    """Signals end us until the container's process is there; then they are for that."""

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self._machine: Machine | None = None
        self._endings = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Deal with signals until the context ends; what is ignored already stays so."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        caught = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
        for number in caught:
            loop.add_signal_handler(number, self._receive, number)
        try:
            yield
        finally:
            for number in (*caught, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def forward_to(self, machine: Machine, *, terminal: bool) -> None:
        """From now on, pass signals on."""
        self._machine = machine
        if terminal:
            # The window may have changed its size while the machine was starting.
            self._resize()
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resize)

    def _receive(self, number: int) -> None:
        self._endings += number in _ENDING
        if self._machine is not None and self._endings < _PATIENCE:
            self._machine.signal(number)
        elif self._task is not None:
            self.ended_by = number
            self._task.cancel()

    def _resize(self) -> None:
        size = window_size()
        if self._machine is not None and size is not None:
            self._machine.resize(*size)
