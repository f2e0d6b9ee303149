"""The state of a machine in which an image's container waits at its prompt, for a site.

A page goes on from it in the place of starting the image: docs/sessions.md.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from browsermount.cli.first_reads import WantedFile, WatchedServer
from browsermount.cli.images import Opening, mounted
from browsermount.cli.machine import Machine
from browsermount.errors import BrowsermountError
from browsermount.machines import machine_for
from browsermount.mount import Mount
from browsermount.ninep import Server
from browsermount.oci.platform import RUNNABLE
from browsermount.runtime.spec import ProcessOptions
from browsermount.state import encode_known, session_header

LABEL = "org.browsermount.warm"
"""The image's label that says ``no`` where its container is not to be kept at its prompt."""

_OPTIONS = ProcessOptions(network=True)
"""How the page starts an image where nothing is asked for."""
_SIZE = (80, 24)
_SECONDS = 300
_TYPED = "ls . /\r"
"""What a person types first, where the prompt is a shell's; elsewhere it does no harm."""
_IDLE_SECONDS = 2.0
"""When nothing was read for so long, what was typed is answered."""
_LEVEL = 9
_HEADER_DIGEST = struct.Struct("<16x32s")


class NoWarmState(BrowsermountError):
    """No state can be made of an image at its prompt."""

    code = "no-warm-state"


async def make_warm_state(layout: Path, folder: Path) -> Path:
    """Start an image as the page does, and save the machine when it is at its prompt.

    Args:
        layout: The directory of an OCI image layout with just this image.
        folder: Where the file goes; it is made where it is missing.

    Returns:
        The file, whose name has the digest of its header, and the machine.

    Raises:
        NoWarmState: The image does not come to a prompt, or must not be kept at it.
        BrowsermountError: It cannot be used.
    """
    trusts = _Trust()
    opening = Opening(quiet=True, cache=False)
    async with mounted(
        str(layout.absolute()),
        opening,
        platforms=RUNNABLE,
        options=_OPTIONS,
        authority=trusts.certificate,
    ) as mount:
        if mount.image.config.labels.get(LABEL) == "no":
            raise NoWarmState(
                f"the image has the label {LABEL}=no: it must not be kept at its prompt",
                hint="Build the site without --warm.",
            )
        files = await _first_reads(mount)
        if trusts.was_asked:  # that cannot be read before there is a page
            files = []
            trusts.was_asked = False
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / "state"
            async with _at_prompt(mount, mount.session()) as machine:
                await _save(machine, mount, files, made)
            if trusts.was_asked:
                raise _no_prompt("it reads the page's certificate authority before")
            with made.open("rb") as file:
                (digest,) = _HEADER_DIGEST.unpack(file.read(_HEADER_DIGEST.size))
            # All may read what is going to be published.
            made.chmod(0o644)
            return made.rename(folder / f"{digest.hex()}.{machine.kind}.state")


class _Trust:
    """The authority of a page, which is not there yet: no two pages have the same."""

    def __init__(self) -> None:
        self.was_asked = False

    async def certificate(self) -> bytes:
        self.was_asked = True
        raise NoWarmState("there is no page yet whose authority could be trusted")


def _no_prompt(why: str) -> NoWarmState:
    return NoWarmState(
        f"the image cannot be kept at its prompt: {why}",
        hint="Build the site without --warm, which is for shells and the like.",
    )


@asynccontextmanager
async def _at_prompt(mount: Mount, session: Server) -> AsyncIterator[Machine]:
    """Start a machine whose container comes to its prompt, and end it.

    Raises:
        NoWarmState: It does not come to one, or something takes too long.
    """
    machine = await Machine.create(machine_for(mount.image.platform), alone=True)
    try:
        async with asyncio.timeout(_SECONDS):
            await machine.add_interpreter(mount)
            await machine.start(
                mount, takes_input=True, size=_SIZE, as_in_page=True, session=session
            )
            await _message(machine, "started")
            machine.watch()
            await _message(machine, "quiet")
            yield machine
    except TimeoutError:
        raise _no_prompt(f"it shows none in {_SECONDS} seconds") from None
    finally:
        await machine.close()


async def _message(machine: Machine, wanted: str) -> None:
    """Wait until the machine says something, a stage or a message of this type."""
    async for message in machine.messages():
        match message["type"]:
            case "exit":
                raise _no_prompt(f"its process ends with exit code {message.get('code')}")
            case "error" | "unsaved":
                raise _no_prompt(str(message.get("message")))
            case type:
                if wanted in (type, message.get("stage")):
                    return
    raise _no_prompt("the virtual machine has gone away")


async def _first_reads(mount: Mount) -> list[WantedFile]:
    """Find out what is read when somebody types at the prompt, in a machine for just that."""
    server = WatchedServer(mount)
    async with _at_prompt(mount, server) as machine:
        server.begin()
        machine.type(_TYPED)
        await server.idle(_IDLE_SECONDS)
    return server.files()


async def _save(machine: Machine, mount: Mount, files: Sequence[WantedFile], path: Path) -> None:
    """Save a machine whose container is at its prompt, with what is going to be read first."""
    image = mount.image
    cols, rows = _SIZE
    header = {
        **session_header(image, image.reference, _OPTIONS),
        "terminal": {"cols": cols, "rows": rows},
    }
    # Now, and not while the machine stands still.
    _ = mount.identity
    known = encode_known(await mount.known())
    machine.read(files)
    await _message(machine, "read")
    machine.save(path, header, go=False, level=_LEVEL)
    await _message(machine, "saving")
    machine.give_server_state(mount, known=known)
    await _message(machine, "saved")
