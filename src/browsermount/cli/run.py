"""``browsermount run``: an image in the terminal, in a virtual machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from browsermount.cli.commit import Commit
from browsermount.cli.images import (
    Opening,
    lasting_name,
    mounted,
    opened,
    opening_options,
    optional_image_argument,
    run_async,
    split_name,
)
from browsermount.cli.machine import Machine, MachineFailure
from browsermount.cli.neighbours import random_name
from browsermount.cli.networks import (
    NetworkChoice,
    networks_option,
    open_ports,
    publish_option,
    say_refusal,
)
from browsermount.cli.printable import printable
from browsermount.cli.sizes import read_size
from browsermount.cli.sockets import Publication, Rules
from browsermount.cli.terminal import raw, window_size
from browsermount.errors import InvalidState
from browsermount.interpreters import interpreter_for
from browsermount.machines import MachineKind, choose_machine, level_for, machine_for, runnable
from browsermount.mount import Mount
from browsermount.network.addresses import HOST, to_text
from browsermount.network.neighbours import is_name
from browsermount.oci.given import layer_of
from browsermount.oci.platform import Platform
from browsermount.runtime.spec import ProcessOptions
from browsermount.state import SavedState, read_state, session_header

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
    "remove files there, or give it more with --memory, up to --memory 2047m"
)
_ENDING = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3
"""So many of the signals that ask for an end are one too many, as for docker."""


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


def _read_commit(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[Path, str] | None:
    if value is None:
        return None
    directory, name = split_name(value)
    return directory, name or "latest"


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
@networks_option
@publish_option
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
    help="The memory that the machine may have, such as 1g; default: a quarter of this computer's.",
)
@click.option(
    "--machine",
    type=click.Choice(["32", "64"]),
    help="The virtual machine, by its bits; default: 32 for images of 386, else 64. On 64, a 386 "
    "image calculates as exactly as on a real processor, but is slower.",
)
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the session to this file, with all that runs in it, when Ctrl-P Ctrl-Q is typed or "
    "the terminal is closed (SIGHUP); at SIGUSR1, save it and go on.",
)
@click.option(
    "--resume",
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Go on with a saved session, in the place of starting an image.",
)
@click.option(
    "--commit",
    "commit",
    metavar="DIR[:NAME]",
    callback=_read_commit,
    help="When the process has ended, write the image with what was changed as a new layer to this "
    "OCI image layout; by default it is called latest.",
)
@opening_options
@optional_image_argument
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(
    opening: Opening,
    image: str | None,
    arguments: tuple[str, ...],
    interactive: bool,
    tty: bool,
    environment: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    entrypoint: str | None,
    hostname: str | None,
    network: NetworkChoice,
    publications: list[Publication],
    hosts: list[tuple[str, str]],
    memory: int | None,
    machine: str | None,
    save: Path | None,
    resume: Path | None,
    commit: tuple[Path, str] | None,
) -> int:
    """Run a program in an image.

    It runs in a virtual machine with an emulated CPU. ARG... is what to run in the place of the
    image's own command. Options for us stand before IMAGE. For a shell, give -it. Without -t,
    standard output and error are separate, and standard input is passed on where it is a pipe or a
    file.

    With --resume, IMAGE is needed only where the image that the session was made of is elsewhere
    now; options that say how the process is started are not taken.

    The exit code is the process's, or 128 and the number of the signal that ended it; 125 where
    we have failed, 126 and 127 where the program cannot be run or is not there.
    """
    if resume is not None:
        _refuse_with_resume()
        saved = _read_saved(resume)
        tty = saved.options.terminal
        interactive = interactive or tty
        if network == NetworkChoice() and not saved.options.network:
            network = NetworkChoice("none")
        if network.name is not None:
            _check_member(saved.options)
    elif image is None:
        raise click.UsageError("Missing argument 'IMAGE'.")
    else:
        saved = None
    name = image or (saved.reference if saved else "")
    streams = _streams(interactive, tty, resumed=saved is not None)
    rules = network.rules(publications)
    if publications and rules is None:
        raise click.UsageError("a container without a network has no ports: leave out -p")
    if saved is not None:
        return run_async(
            _run(
                opening,
                name,
                [saved.platform],
                saved.options,
                streams,
                saved.kind,
                saved.memory_mib,
                rules,
                _Sessions(save, resume, saved),
                commit,
                network.name,
            )
        )
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
    )
    if hostname is not None or network.name is not None:
        options = replace(options, hostname=hostname or random_name())
    if network.name is not None:
        _check_member(options)
    sessions = _Sessions(save)
    return run_async(
        _run(
            opening,
            name,
            platforms,
            options,
            streams,
            kind,
            memory,
            rules,
            sessions,
            commit,
            network.name,
        )
    )


def _check_member(options: ProcessOptions) -> None:
    """Refuse a network of containers for what cannot be in one."""
    if not options.network:
        raise click.UsageError("the session was started without a network: it can be in none")
    if not is_name(options.hostname.lower()):
        raise click.UsageError(
            f"{options.hostname!r} is no name in a network of containers: --hostname gives one"
        )


_WITHOUT_RESUME = (
    "arguments",
    "environment",
    "user",
    "workdir",
    "entrypoint",
    "hostname",
    "hosts",
    "memory",
    "machine",
)


def _refuse_with_resume() -> None:
    """Refuse what a process that runs already cannot be given any more."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in _WITHOUT_RESUME and context.params[parameter.name]:
            what = parameter.opts[0] if isinstance(parameter, click.Option) else "[ARG]..."
            raise click.UsageError(
                f"{what} is for a process that is started: it does not go with --resume"
            )


def _read_saved(path: Path) -> SavedState:
    try:
        with path.open("rb") as file:
            return read_state(file)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    except InvalidState as error:
        raise _unusable(path, error.message, error.hint) from None


def _unusable(path: Path | None, message: str, hint: str = "") -> InvalidState:
    return InvalidState(
        f"the session in {path} cannot go on: {message}",
        hint=hint or "Start the image anew, or take the version of browsermount that saved it.",
    )


def _streams(interactive: bool, tty: bool, *, resumed: bool = False) -> _Streams:
    typed = sys.stdin is not None and sys.stdin.isatty()
    if interactive and tty and not typed:
        raise click.UsageError(
            "the input device is not a terminal, which the session needs"
            if resumed
            else "the input device is not a terminal: leave out -t, or -i"
        )
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
    name: str,
    platforms: Sequence[Platform],
    options: ProcessOptions,
    streams: _Streams,
    wanted: MachineKind | None,
    memory: int | None,
    rules: Rules | None,
    sessions: _Sessions,
    committed: tuple[Path, str] | None,
    network: str | None,
) -> int:
    # What cannot be written to is said before anything was done.
    commit = None if committed is None else Commit(*committed)
    # The one platform that a person asks for says what programs are told of, too.
    asked = () if opening.platform is None else platforms
    signals = _Signals()
    saved = sessions.saved
    with signals.caught():
        # It gets ready while the image is opened, which mostly is one for what was asked for.
        machine = await Machine.create(
            machine_for(platforms[0], wanted), memory, resume=sessions.resume
        )
        try:
            over = [layer_of(layer) for layer in saved.layers] if saved else []
            async with mounted(
                name,
                opening,
                platforms=platforms,
                options=options,
                over=over,
                authority=saved.certificate if saved else None,
            ) as mount:
                kind = machine_for(mount.image.platform, wanted)
                if machine.kind != kind and saved is None:
                    await machine.close()
                    machine = await Machine.create(kind, memory)
                await _add_interpreter(machine, mount, opening)
                if rules is not None:
                    say = partial(say_refusal, quiet=opening.quiet)
                    await open_ports(partial(machine.connect, rules, say))
                if network is not None:
                    await machine.join(network, options.hostname.lower())
                size = window_size() if streams.terminal else None
                try:
                    await machine.start(
                        mount,
                        takes_input=streams.input,
                        size=size,
                        saved=None if saved is None else saved.server,
                        detaches=sessions.save is not None and streams.terminal,
                        archives=commit is not None,
                        level=level_for(mount.image.platform, *asked),
                    )
                except InvalidState as error:
                    raise _unusable(sessions.resume, error.message, error.hint) from None
                sessions.begin(machine, mount, name, options)
                signals.on_save = sessions.on_signal
                code = await _follow(
                    machine, signals, streams, sessions, commit, quiet=opening.quiet
                )
                machine.leave()
                if commit is not None and not sessions.is_saved:
                    async with opened(name) as (source, _):
                        await commit.finish(source, mount.image)
                return code
        except asyncio.CancelledError:
            if signals.ended_by is None:
                raise
            return 128 + signals.ended_by
        finally:
            if commit is not None:
                commit.close()
            await machine.close()


def _say_translation(platform: Platform, opening: Opening) -> None:
    """Tell a person, though no program that reads our output, why all takes longer."""
    if opening.quiet or not sys.stderr.isatty():
        return
    text = f"the image is for {platform}: its programs are translated, and run several times slower"
    print(f"browsermount: {printable(text)}.", file=sys.stderr, flush=True)


async def _add_interpreter(machine: Machine, mount: Mount, opening: Opening) -> None:
    """Add to the tree what the machine needs for an image of another platform than its own."""
    if interpreter_for(mount.image.platform) is not None:
        _say_translation(mount.image.platform, opening)
    await machine.add_interpreter(mount)


async def _follow(
    machine: Machine,
    signals: _Signals,
    streams: _Streams,
    sessions: _Sessions,
    commit: Commit | None,
    *,
    quiet: bool = False,
) -> int:
    """Do what the machine's messages ask for, until the process has ended."""
    with raw() as set_raw:
        async for message in machine.messages():
            if message["type"] == "stage" and message.get("stage") == "started":
                if streams.terminal and streams.input:
                    set_raw()
                signals.forward_to(machine, terminal=streams.terminal)
            elif message["type"] == "stage" and message.get("stage") == "full":
                if not quiet:
                    _say(_FULL)
            elif message["type"] == "exit":
                return exit_code(message)
            elif sessions.receive(message):
                return 0
            elif commit is not None and (left_out := commit.receive(message)):
                _say(
                    f"{left_out} files have names that no layer can have, and are not in the image"
                )
            elif message["type"] == "error":
                if message.get("reason") in _STATE_REASONS:
                    raise _unusable(sessions.resume, str(message.get("message")))
                raise MachineFailure(str(message.get("message")), exit_code(message))
            elif message["type"] == "closed":
                return 128 + signal.SIGPIPE
    raise MachineFailure("the virtual machine has gone away", 125)


def exit_code(message: dict[str, Any]) -> int:
    """Return the exit code in a message.

    Raises:
        MachineFailure: It is none: whatever is in the machine may have written it.
    """
    code = message.get("code")
    if type(code) is not int or not 0 <= code <= _MAX_EXIT_CODE:
        raise MachineFailure("the virtual machine gives no exit code that there is", 125)
    return code


def _say(text: str) -> None:
    """Tell a person something while the container has the terminal, or had it until now."""
    with suppress(OSError):  # the terminal may be what has gone
        print(f"\r\nbrowsermount: {printable(text)}", file=sys.stderr, end="\r\n", flush=True)


_STATE_REASONS = ("no-state", "damaged", "other-build")
"""Why a saved machine cannot go on: StateError in web/vm/state-file.js."""


@dataclass(slots=True)
class _Sessions:
    """The session that goes on, and where it is saved.

    Attributes:
        save: The file that it is saved to, if any.
        resume: The file of the one that goes on.
        saved: What is in there.
        is_saved: Whether this session was saved, and ends for that.
    """

    save: Path | None = None
    resume: Path | None = None
    saved: SavedState | None = None
    is_saved: bool = False
    _machine: Machine | None = None
    _mount: Mount | None = None
    _header: dict[str, Any] = field(default_factory=dict)
    _ends: bool = False
    _saving: bool = False

    def begin(self, machine: Machine, mount: Mount, image: str, options: ProcessOptions) -> None:
        """Know what is to be saved."""
        self._machine, self._mount = machine, mount
        if self.save is not None:
            _ = mount.identity  # now, and not while the machine stands still
        reference = lasting_name(image, str(mount.image.digest))
        self._header = session_header(mount.image, reference, options)

    def on_signal(self, number: int) -> bool:
        """Save where a signal says so; False where it is for the process."""
        if self.save is None or number not in (signal.SIGHUP, signal.SIGUSR1):
            return False
        self._begin(ends=number == signal.SIGHUP)
        return True

    def receive(self, message: dict[str, Any]) -> bool:
        """Deal with a message of the machine's; True where the session has been saved and ends."""
        if self._machine is None or self._mount is None:
            return False
        if message["type"] == "detach":
            self._begin(ends=True)
        elif message["type"] == "saving":
            self._machine.give_server_state(self._mount)
        elif message["type"] in ("saved", "unsaved"):
            self._saving = False
            if message["type"] == "saved" and self._ends:
                self.is_saved = True
                _say(f"the session is saved: browsermount run --resume {self.save}")
                return True
            if message["type"] == "unsaved":
                self._ends = False
                _say(f"the session could not be saved: {message.get('message')}")
        return False

    def _begin(self, *, ends: bool) -> None:
        # Who wants to leave while it is being saved leaves then.
        self._ends = self._ends or ends
        if self._machine is None or self.save is None or self._saving:
            return
        self._saving = True
        self._machine.save(self.save, self._header, go=not ends)


class _Signals:
    """Signals end us until the container's process is there; then they are for that."""

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self.on_save: Callable[[int], bool] = lambda number: False
        self._machine: Machine | None = None
        self._endings = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Deal with signals until the context ends; what is ignored already stays so."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        caught = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.getsignal(number) for number in (*caught, signal.SIGWINCH)}
        for number in caught:
            loop.add_signal_handler(number, self._receive, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def forward_to(self, machine: Machine, *, terminal: bool) -> None:
        """From now on, pass signals on."""
        self._machine = machine
        if terminal:
            # The window may have changed its size while the machine was starting.
            self._resize()
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resize)

    def _receive(self, number: int) -> None:
        if self._machine is not None and self.on_save(number):
            return
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
