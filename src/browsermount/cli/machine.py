"""The virtual machine, in a process of Node's that is told what to do."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from browsermount.cli.first_reads import WantedFile
from browsermount.cli.neighbours import LocalNeighbourhood
from browsermount.cli.site import find_node, machine_files
from browsermount.cli.sockets import Network, Rules
from browsermount.errors import BrowsermountError
from browsermount.interpreters import install, interpreter_for
from browsermount.local.files import FileFetcher
from browsermount.machines import MachineKind
from browsermount.mount import Mount
from browsermount.network.neighbours import Neighbours
from browsermount.ninep.server import MSIZE, Server
from browsermount.sockets import serve

_GRACE_SECONDS = 5.0


class MachineFailure(BrowsermountError):
    """The virtual machine could not start the process, or broke down.

    Args:
        message: As for every error.
        exit_code: Ours, as docker has them: 126, 127 or 125.
    """

    code = "machine"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Machine:
    """A machine that is starting, and once it is told to runs one container.

    The container has our own standard input, output and error. The process of Node ends
    with us, however we end.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        frames: socket.socket,
        card: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kind: MachineKind = "v86",
    ) -> None:
        self.kind = kind
        self._process = process
        self._frames = frames
        self._card = card
        self._network: Network | None = None
        self._neighbours: Neighbours | None = None
        self._place: LocalNeighbourhood | None = None
        self._reader = reader
        self._writer = writer
        self._session: Server | None = None
        self._server: asyncio.Task[None] | None = None
        # Of a session of a page's: the same when it is saved again.
        self._authority: str | None = None

    @classmethod
    async def create(
        cls,
        kind: MachineKind,
        memory_mib: int | None = None,
        *,
        resume: Path | None = None,
        alone: bool = False,
    ) -> Machine:
        """Start the process: it gets the machine ready while we do something else.

        Args:
            kind: Which machine.
            memory_mib: The machine's memory; by default what the snapshot has. With another
                it boots in the place of resuming.
            resume: The file of a saved session, in which the machine goes on.
            alone: Whether the container has none of our standard streams: what it shows goes
                nowhere, and what is typed comes from :meth:`type`.

        Raises:
            NotInstalled: Node or the machine's files are missing.
        """
        node, files = find_node(), machine_files(kind)
        frames, their_frames = socket.socketpair()
        control, their_control = socket.socketpair()
        card, their_card = socket.socketpair()
        theirs = {"frames": their_frames, "control": their_control, "network": their_card}
        descriptors = [end.fileno() for end in theirs.values()]
        arguments: list[object] = []
        for name, end in theirs.items():
            arguments += [f"--{name}", end.fileno()]
        arguments += ["--image", files.image, f"--{kind}", files.emulator]
        arguments += ["--snapshot", files.snapshot]
        if memory_mib is not None:
            arguments += ["--memory", memory_mib]
        if resume is not None:
            arguments += ["--resume", resume]
        # Its input does not end, as that of a terminal does not.
        stdin, stdout = (subprocess.PIPE, subprocess.DEVNULL) if alone else (None, None)
        with their_frames, their_control, their_card:
            process = await asyncio.create_subprocess_exec(
                node,
                files.runner,
                *map(str, arguments),
                pass_fds=descriptors,
                stdin=stdin,
                stdout=stdout,
            )
        return cls(process, frames, card, *await asyncio.open_connection(sock=control), kind)

    async def connect(self, rules: Rules, say: Callable[[str], None]) -> None:
        """Give the container a network, before it is started.

        Args:
            rules: What may pass.
            say: Tells a person what the container was refused.

        Raises:
            OSError: As from :meth:`~browsermount.cli.sockets.Network.open`.
        """
        self._network = Network(self._card, rules, say)
        await self._network.open()

    async def join(self, network: str, name: str) -> None:
        """Put the container into a network of containers, after :meth:`connect`.

        Args:
            network: The network's name.
            name: The container's.

        Raises:
            NetworkUnavailable: As from
                :meth:`~browsermount.cli.neighbours.LocalNeighbourhood.join`.
        """
        assert self._network is not None
        self._place = LocalNeighbourhood(network, name)
        self._neighbours = Neighbours(self._network.stack, network, name, self._place)
        await self._place.join(self._neighbours.meet)

    def leave(self) -> None:
        """Leave that network: the others are told at once that the container is gone."""
        if self._neighbours is not None:
            self._neighbours.close()
        if self._place is not None:
            self._place.leave()
        self._neighbours = self._place = None

    async def add_interpreter(self, mount: Mount) -> None:
        """Add to the tree what an image of another platform than the machine's needs.

        Raises:
            BrowsermountError: It is not there.
        """
        interpreter = interpreter_for(mount.image.platform)
        if interpreter is not None:
            base = machine_files(self.kind).interpreters.as_uri() + "/"
            await install(mount.tree, interpreter, FileFetcher(), base)

    async def start(
        self,
        mount: Mount,
        *,
        takes_input: bool,
        size: tuple[int, int] | None,
        saved: dict[str, Any] | None = None,
        detaches: bool = False,
        archives: bool = False,
        level: int | None = None,
        as_in_page: bool = False,
        session: Server | None = None,
    ) -> None:
        """Serve an image to the machine, and start the process that its config describes.

        Args:
            mount: The image, and how it is started.
            takes_input: Whether our standard input is passed on; else it ends at once.
            size: Columns and rows of the terminal.
            saved: For a machine of a saved session, what was given by :meth:`give_server_state`.
            detaches: Whether there is to be a message when the person types Ctrl-P Ctrl-Q.
            archives: Whether there are to be messages with what the container has changed, when
                it has ended.
            level: See :func:`~browsermount.machines.level_for`.
            as_in_page: Whether it is started as in a page whose authority it trusts and which has
                made none yet, with a network that nobody is at the other end of.
            session: What serves the image, where it is not one as any.

        Raises:
            InvalidState: ``saved`` does not belong to the image.
        """
        self._session = session or mount.session()
        if saved is not None:
            self._session.restore(saved.get("ninep"), mount.identity)
            self._authority = saved.get("authority")
            if self._network is not None and saved.get("network") is not None:
                self._network.stack.reset(saved["network"])
        reader, writer = await asyncio.open_connection(sock=self._frames, limit=2 * MSIZE)
        self._server = asyncio.create_task(serve(self._session, reader, writer))
        cols, rows = size or (None, None)
        if as_in_page:
            self._authority = ""
        network = self._network is not None or as_in_page
        self._tell(
            {
                "type": "start",
                "input": takes_input,
                "network": network,
                "detach": detaches,
                "archive": archives,
                "cols": cols,
                "rows": rows,
                **({} if level is None else {"level": level}),
            }
        )

    def watch(self) -> None:
        """Ask for the message ``quiet``: the container waits at its prompt."""
        self._tell({"type": "watch"})

    def type(self, text: str) -> None:
        """Type at the terminal of a machine that is ``alone``."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def read(self, files: Sequence[WantedFile]) -> None:
        """Have parts of the container's files read, so that the machine has them when it is saved.

        The message ``read`` comes when that is done.
        """
        self._tell({"type": "read", "files": files})

    def save(
        self, path: Path, header: dict[str, Any], *, go: bool, level: int | None = None
    ) -> None:
        """Have the machine saved; messages follow, see web/vm/runner.mjs.

        Args:
            path: The file.
            header: What we know of the session.
            go: Whether the machine goes on.
            level: How hard gzip tries, from 1 to 9.
        """
        message = {"type": "save", "path": str(path.resolve()), "header": header, "go": go}
        self._tell(message | ({} if level is None else {"level": level}))

    def give_server_state(self, mount: Mount, **more: Any) -> None:
        """Answer a machine that stands still, and is being saved, with what belongs to it here.

        Args:
            mount: The image.
            more: What else is to be in it.
        """
        if self._session is not None:
            network = None if self._network is None else self._network.stack.save()
            server: dict[str, Any] = {
                "ninep": self._session.save(mount.identity),
                "network": network,
                **more,
            }
            if self._authority is not None:
                server["authority"] = self._authority
            self._tell({"type": "server", "server": server})

    def resize(self, cols: int, rows: int) -> None:
        """Say that the terminal's window has another size."""
        self._tell({"type": "resize", "cols": cols, "rows": rows})

    def signal(self, number: int) -> None:
        """Send a signal to the container's process."""
        self._tell({"type": "signal", "signal": number})

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over what the process says, see web/vm/runner.mjs, until it ends.

        Some of it is the guest's words: a line that is no message, or too long, is left out.
        """
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:  # longer than the reader's limit, which has dropped it
                continue
            if not line:
                return
            if (message := parse_message(line)) is not None:
                yield message

    async def close(self) -> None:
        """End the process, at the latest after some seconds, and wait for its end."""
        self._writer.close()
        self._frames.close()
        self.leave()
        if self._network is not None:
            await self._network.close()
        self._card.close()
        if self._server is not None:
            self._server.cancel()
        try:
            await asyncio.wait_for(self._process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            # For example it waits for somebody to read its output.
            self._process.kill()
            await self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


def parse_message(line: bytes) -> dict[str, Any] | None:
    """Return a message of the machine's process; None for a line that is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(message, dict) and isinstance(message.get("type"), str)
    return message if known else None
