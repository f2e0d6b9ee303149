"""Progress bars on a terminal, one for each layer; nothing where standard error is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from browsermount.cli.printable import printable
from browsermount.events import (
    Event,
    EventSink,
    LayerProgress,
    LayerState,
    Notice,
    Resolved,
    Resolving,
    Trouble,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_ID_LENGTH = 12
"""How much of a digest tells layers apart, as docker shows it."""


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[EventSink]:
    """Show the events that are given to the result, until the context ends."""
    if quiet or not sys.stderr.isatty():
        yield _notices
        return
    with bars() as display:
        layers = _Layers(display)

        def show(event: Event) -> None:
            _notices(event)
            layers(event)

        yield show


def _notices(event: Event) -> None:
    """Write what a person has to know however quiet it is."""
    if isinstance(event, Notice):
        _say(event.message)
    elif isinstance(event, Trouble):
        _say(event.message if event.lost else f"{event.message}; trying again")


def _say(message: str) -> None:
    # A raw terminal needs to be told to return to the start of the line.
    end, start = ("\r\n", "\r") if sys.stderr.isatty() else ("\n", "")
    print(f"{start}browsermount: {printable(message)}.", end=end, file=sys.stderr, flush=True)


@contextmanager
def bars() -> Iterator[Progress]:
    """Show progress bars on standard error, until the context ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TransferSpeedColumn,
    )

    with Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[state]}"),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        yield display


class _Layers:
    """Shows the events of one image."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[int, TaskID] = {}
        self._looking: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Resolving):
            self._looking = self._display.add_task(printable(event.reference), total=None, state="")
        elif isinstance(event, Resolved):
            if self._looking is not None:
                self._display.remove_task(self._looking)
            for index, layer in enumerate(event.layers):
                self._tasks[index] = self._display.add_task(
                    _short(layer.digest), total=layer.size, state=LayerState.WAITING
                )
        elif isinstance(event, LayerProgress):
            self._display.update(
                self._tasks[event.index],
                completed=event.current,
                total=event.total,
                state=event.state,
            )


def _short(digest: str) -> str:
    return digest.partition(":")[2][:_ID_LENGTH]
