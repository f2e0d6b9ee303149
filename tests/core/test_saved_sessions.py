"""What the host knows of a guest, saved and gone on with: fids, and connections that are gone."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from browsermount.errors import InvalidState
from browsermount.ninep import wire
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import fingerprint

from .client import Client
from .guest_network import ACK, GUEST, RST, Guest, Peer
from .images import hardlink, member, tar
from .test_rootfs import merge

TREE = "sha256:abc 123"


def tree(*more: str) -> Inode:
    return merge(
        tar(
            member("dir/"),
            member("dir/file", b"0123456789" * 1000, pax={"SCHILY.xattr.user.a": "value"}),
            hardlink("hard", "dir/file"),
            *(member(name, b"") for name in more),
            member("many/"),
            *(member(f"many/{i:03}", b"") for i in range(300)),
        )
    )


def go_on(client: Client, root: Inode) -> Client:
    """Return the client of a new server, that knows what the one before knew."""
    saved = json.loads(json.dumps(client.server.save(TREE)))
    other = Client(root)
    other.open(b"dir")  # which is forgotten
    other.server.restore(saved, TREE)
    return other


def test_fids_are_what_they_were() -> None:
    client = Client(tree(), msize=9000)
    file = client.open(b"dir", b"file")
    closed = client.walk(b"hard")
    directory = client.open(b"many")
    client.ask(wire.Tattach(100, wire.NOFID, b"root", b"/dir", 0), wire.Rattach)
    client.ask(wire.Txattrwalk(file, 101, b"user.a"), wire.Rxattrwalk)
    listed = client.ask(wire.Treaddir(directory, 0, 2000), wire.Rreaddir)
    offset = wire.decode_entries(listed.data)[-1].offset

    other = go_on(client, tree())
    assert other.server.msize == 9000
    assert other.ask(wire.Tread(file, 5, 10), wire.Rread).data == b"5678901234"
    assert other.error(wire.Tread(closed, 0, 10)) == 9  # EBADF: not open
    assert other.ask(wire.Tlopen(closed, 0), wire.Rlopen).qid.path
    assert other.ask(wire.Twalk(100, 102, (b"file",)), wire.Rwalk).qids
    assert other.ask(wire.Tread(101, 0, 100), wire.Rread).data == b"value"
    rest = [other.ask(wire.Treaddir(directory, offset, 60000), wire.Rreaddir).data]
    names = [entry.name for part in (listed.data, *rest) for entry in wire.decode_entries(part)]
    assert sorted(set(names) - {b".", b".."}) == [b"%03d" % i for i in range(300)]
    # What was forgotten, and numbers that are taken.
    assert other.error(wire.Twalk(0, file, ())) == 9
    for number in (0, file, closed, directory, 100, 101, 102):
        other.ask(wire.Tclunk(number), wire.Rclunk)
    assert other.server.save(TREE)["fids"] == []


def test_another_tree_is_refused_and_nothing_is_changed() -> None:
    client = Client(tree())
    saved = client.server.save(TREE)
    client.open(b"dir", b"file")
    before = client.server.save(TREE)
    with pytest.raises(InvalidState, match="another image"):
        client.server.restore(saved, "sha256:abc 124")
    assert client.server.save(TREE) == before


def test_trees_are_told_apart_by_what_a_client_has_seen_of_them() -> None:
    assert fingerprint(tree()) == fingerprint(tree())
    assert fingerprint(tree()) != fingerprint(tree("new"))
    same = tree()
    same.children[b"many"].children[b"000"].ino += 10**6
    assert fingerprint(tree()) != fingerprint(same)
    # The tree's own directories come in any order: an interpreter before the image, or behind it.
    turned = tree()
    turned.children[b"dir"] = turned.children.pop(b"dir")
    assert fingerprint(tree()) == fingerprint(turned)


@pytest.mark.parametrize(
    "change",
    [
        {"fids": None},
        {"fids": [[1]]},
        {"fids": [["1", 1, 0]]},
        {"fids": [[-1, 1, 0]]},
        {"fids": [[1 << 32, 1, 0]]},
        {"fids": [[1, 1, 0, "zz"]]},
        {"fids": [[1, [], 0]]},
        {"msize": 1 << 30},
        {"msize": 1},
        {"msize": "many"},
        {"tree": 1},
        {"tree": None},
    ],
)
def test_what_is_no_saved_session(change: dict[str, Any]) -> None:
    client = Client(tree())
    saved = client.server.save(TREE)
    for broken in ({**saved, **change}, {**{k: saved[k] for k in saved if k not in change}}):
        with pytest.raises(InvalidState):
            client.server.restore(broken, TREE)
    for broken in (None, [], "text", 5):
        with pytest.raises(InvalidState):
            client.server.restore(broken, TREE)


def test_random_numbers_are_never_more_than_an_error() -> None:
    source = random.Random(1)
    client = Client(tree())
    for _ in range(200):
        fids = [[source.randrange(2**32 + 9), source.randrange(400), source.randrange(2)]]
        try:
            client.server.restore({**client.server.save(TREE), "fids": fids}, TREE)
        except InvalidState:
            continue
        client.send(wire.Tgetattr(fids[0][0], 0x7FF))


def connected() -> tuple[Guest, Peer]:
    guest = Guest()
    guest.stack.on_connect = lambda connection: connection.accept()
    peer = Peer(guest)
    peer.open()
    return guest, peer


def test_a_guest_that_waits_hears_that_its_connection_is_gone() -> None:
    guest, peer = connected()
    saved = json.loads(json.dumps(guest.stack.save()))
    later = Guest()
    later.stack.reset(saved)
    (probe,) = later.segments()
    # It is nothing that the guest can take for data, or for the end.
    assert (probe.source, probe.target) == (peer.target, (GUEST, peer.port))
    assert (probe.flags, probe.data) == (ACK, b"")
    # Linux answers with what it expects; that says where a reset is believed.
    peer.guest = later
    peer.send(ACK)
    (reset,) = later.segments()
    assert (reset.flags, reset.seq) == (RST, peer.ack)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"mac": "02aabbccddee"},
        {"mac": "02", "connections": []},
        {"mac": 5, "connections": []},
        {"mac": "02aabbccddee", "connections": 5},
        {"mac": "02aabbccddee", "connections": [[1, 2, 3]]},
        {"mac": "02aabbccddee", "connections": [[1, 2, 3, "4"]]},
        {"mac": "02aabbccddee", "connections": [[1 << 32, 2, 3, 4]]},
        {"mac": "02aabbccddee", "connections": [[1, 0, 3, 4]]},
    ],
)
def test_connections_that_cannot_be(broken: Any) -> None:
    guest = Guest()
    with pytest.raises(InvalidState):
        guest.stack.reset(broken)
    assert guest.take() == []
