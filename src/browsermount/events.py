"""Typed progress events: what happens while an image is mounted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar


class LayerState(StrEnum):
    """What is being done with a layer.

    ``DOWNLOADING``, ``VERIFYING`` and ``READY`` are for a layer that is read whole before the
    image is mounted.  ``EXISTS`` is one that was held already, ``LAZY`` one whose content is
    fetched when it is read; ``current`` then is how much of it is held.
    """

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    READY = "ready"
    EXISTS = "exists"
    LAZY = "lazy"


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``kind`` names the type in JSON."""

    kind: ClassVar[str] = "event"

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain values with its ``kind``, ready for JSON."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Resolving(Event):
    """The manifest of ``reference`` is being looked for."""

    kind: ClassVar[str] = "resolving"

    reference: str


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """A layer as its descriptor gives it; ``size`` in bytes, compressed."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Resolved(Event):
    """The manifest was found and verified; the layers come next."""

    kind: ClassVar[str] = "resolved"

    reference: str
    digest: str
    platform: str
    layers: tuple[LayerSummary, ...]


@dataclass(frozen=True, slots=True)
class InterpreterReady(Event):
    """What runs the programs of ``processor`` is in the 9P tree, maybe before the image is."""

    kind: ClassVar[str] = "interpreter"

    processor: str


@dataclass(frozen=True, slots=True)
class LayerProgress(Event):
    """Layer number ``index`` is in ``state``; ``current`` of ``total`` bytes have come."""

    kind: ClassVar[str] = "layer"

    index: int
    digest: str
    state: LayerState
    current: int
    total: int


@dataclass(frozen=True, slots=True)
class TreeReady(Event):
    """The layers are merged: ``inodes`` in the tree, ``size`` bytes in its files."""

    kind: ClassVar[str] = "tree"

    inodes: int
    size: int


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something that a person may want to know, such as why a layer cannot be read lazily."""

    kind: ClassVar[str] = "notice"

    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Trouble(Event):
    """A request failed; ``lost`` when a read failed for good, else it is sent again."""

    kind: ClassVar[str] = "trouble"

    message: str
    hint: str
    lost: bool


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """The network works again after a :class:`Trouble`."""

    kind: ClassVar[str] = "recovered"


@dataclass(frozen=True, slots=True)
class NetworkRefusal(Event):
    """The container's network could not do what the container wanted of it."""

    kind: ClassVar[str] = "network"

    message: str
    hint: str


EventSink = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing with ``event``: the sink of callers that follow no progress."""
