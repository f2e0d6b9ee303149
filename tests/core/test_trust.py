"""A container that trusts one more authority, whatever distribution it is."""

from __future__ import annotations

import errno

import pytest

from browsermount.errors import NetworkError
from browsermount.layers.entry import FileType
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import Tree, lookup
from browsermount.rootfs.trust import OWN, ROOM, SUBJECT_HASH, add_authority

from .images import member, symlink, tar
from .loop import run
from .test_rootfs import check_links, merge

DER = bytes(range(256)) + bytes(208)
PEM_START = b"\n-----BEGIN CERTIFICATE-----\nAAECAwQFBgcICQoLDA0ODxAR"


class Authority:
    def __init__(self) -> None:
        self.asked = 0

    async def certificate(self) -> bytes:
        self.asked += 1
        return DER


def trusting(root: Inode, *environment: str, authority: Authority | None = None) -> list[str]:
    tree = Tree()
    for _ in root.walk():
        tree.new_ino()
    made = add_authority(tree, root, environment, (authority or Authority()).certificate)
    check_links(root)
    return list(made)


def content(root: Inode, path: bytes) -> bytes:
    inode = lookup(root, path)
    data = run(inode.content.read(0, inode.size + 1))
    assert len(data) == inode.size
    assert inode.content.read_now(0, inode.size) == data
    return data


BUNDLE = "etc/ssl/certs/ca-certificates.crt"
FEDORA = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


@pytest.mark.parametrize(
    ("members", "bundle"),
    [
        ([member(BUNDLE, b"old")], BUNDLE),
        (
            [member(BUNDLE, b"old"), symlink("etc/ssl/cert.pem", "certs/ca-certificates.crt")],
            BUNDLE,
        ),
        (
            [
                member(FEDORA, b"old"),
                symlink("etc/pki/tls/certs/ca-bundle.crt", f"/{FEDORA}"),
                symlink("etc/ssl/certs", "/etc/pki/tls/certs"),
            ],
            FEDORA,
        ),
        ([member("var/lib/ca-certificates/ca-bundle.pem", b"old")], None),
    ],
)
def test_bundles_get_one_more(members: list[object], bundle: str | None) -> None:
    root = merge(tar(*members))  # type: ignore[arg-type]
    trusting(root)
    path = bundle or "var/lib/ca-certificates/ca-bundle.pem"
    data = content(root, path.encode())
    assert data.startswith(b"old" + PEM_START)
    assert data.rstrip(b"\n").endswith(b"\n-----END CERTIFICATE-----")
    assert len(data) == 3 + ROOM


def test_an_image_without_any() -> None:
    root = merge(tar(member("bin/sh", b"")))
    made = trusting(root)
    assert content(root, BUNDLE.encode()).startswith(PEM_START)
    assert content(root, OWN) == content(root, BUNDLE.encode())
    assert set(made) == {
        f"{name}=/usr/local/share/ca-certificates/browsermount.crt"
        for name in (
            *("SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
            *("REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        )
    }


def test_where_tools_look() -> None:
    root = merge(tar(member("etc/pki/ca-trust/source/README", b""), member("etc/pki/trust/x", b"")))
    trusting(root)
    for path in (
        b"etc/pki/ca-trust/source/anchors/browsermount.crt",
        b"etc/pki/trust/anchors/browsermount.crt",
        b"etc/ssl/certs/browsermount.pem",
        b"etc/ssl/certs/" + SUBJECT_HASH + b".0",
    ):
        assert lookup(root, path) is lookup(root, OWN)
    with pytest.raises(FileNotFoundError):
        lookup(root, b"etc/ca-certificates")


def test_files_that_the_images_own_variables_name() -> None:
    root = merge(tar(member("opt/conda/ssl/cacert.pem", b"conda"), member(BUNDLE, b"old")))
    trusting(root, "SSL_CERT_FILE=/opt/conda/ssl/cacert.pem", "REQUESTS_CA_BUNDLE=/no", "X=1")
    assert content(root, b"opt/conda/ssl/cacert.pem").startswith(b"conda" + PEM_START)


def test_it_is_made_when_it_is_read_and_not_before() -> None:
    authority = Authority()
    root = merge(tar(member(BUNDLE, b"0123456789")))
    trusting(root, authority=authority)
    file = lookup(root, BUNDLE.encode())
    assert file.content.read_now(2, 8) == b"23456789"
    assert run(file.content.read(8, 2)) == b"89"
    assert file.content.read_now(9, 2) is None
    assert authority.asked == 0
    whole = run(file.content.read(0, file.size))
    assert authority.asked == 1
    for offset, size in ((0, 5000), (5, 7), (9, 3), (10, 4), (500, 100), (file.size - 1, 9)):
        expected = whole[offset : offset + size]
        assert run(file.content.read(offset, size)) == expected
        assert file.content.read_now(offset, size) == expected
    assert run(file.content.read(file.size, 10)) == b""


def test_an_authority_that_cannot_be_had() -> None:
    async def certificate() -> bytes:
        raise NetworkError("it cannot be fetched")

    root = merge(tar(member(BUNDLE, b"old")))
    add_authority(Tree(), root, (), certificate)
    with pytest.raises(OSError, match="fetched") as caught:
        run(lookup(root, BUNDLE.encode()).content.read(0, 100))
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    "members",
    [
        [member("usr", b"a file"), member("etc/ssl", b"a file")],
        [symlink("etc", "etc"), symlink("usr", "/nowhere")],
        [symlink("etc/ssl/certs", "../../../../outside"), symlink(BUNDLE, "/proc/1")],
        [member(f"{BUNDLE}/directory", b""), member(f"{OWN.decode()}/directory", b"")],
        [symlink(OWN.decode()[1:], "/etc/passwd"), member("etc/passwd", b"root")],
    ],
)
def test_images_with_something_in_the_way(members: list[object]) -> None:
    root = merge(tar(*members))  # type: ignore[arg-type]
    trusting(root)
    if (passwd := root.children.get(b"etc")) and b"passwd" in passwd.children:
        assert content(root, b"etc/passwd") == b"root"
        assert lookup(root, OWN, follow=False).type is FileType.REGULAR
