"""Attacks by a directory that somebody else has prepared for a pull, and runs that end early."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browsermount.cli import layouts, main, staging
from browsermount.cli.layouts import Copy, LayoutWriter
from browsermount.cli.staging import LayoutBusy, Staging
from browsermount.errors import InvalidImage, NetworkError
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from tests.core.images import Layout, member, tar

from .test_reading import write

BROWSERMOUNT = [sys.executable, "-m", "browsermount"]
BIG = tar(member("big", os.urandom(3_000_000)))


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_bytes(b"mine")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(Layout().add(BIG, compress=False), tmp_path / "image")
    return tmp_path / "image"


def big_blob(image: Path) -> Path:
    return max((image / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def hidden(layout: Path) -> list[str]:
    return sorted(path.name for path in layout.iterdir() if path.name.startswith("."))


# -- What is in the directory before --------------------------------------------------------------


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_place_of_a_partial_blob(
    image: Path, tmp_path: Path, precious: Path, link: Callable[..., None]
) -> None:
    layout = tmp_path / "layout"
    (layout / ".partial").mkdir(parents=True)
    (layout / "blobs").mkdir()
    link(precious, layout / ".partial" / big_blob(image).name)
    assert main(["pull", str(image), str(layout)]) == 0
    assert precious.read_bytes() == b"mine"
    pulled = layout / "blobs" / "sha256" / big_blob(image).name
    assert pulled.read_bytes() == BIG
    assert not pulled.is_symlink()
    assert pulled.stat().st_nlink == 1
    assert hidden(layout) == []


@pytest.mark.parametrize("command", [["pull"], ["convert", "-c", "zstd"]])
def test_a_link_in_place_of_the_directory_of_partial_blobs(
    image: Path, tmp_path: Path, command: list[str]
) -> None:
    layout, outside = tmp_path / "layout", tmp_path / "outside"
    outside.mkdir()
    (outside / big_blob(image).name).write_bytes(b"mine")
    (layout / "blobs").mkdir(parents=True)
    (layout / ".partial").symlink_to(outside)
    assert main([*command, str(image), str(layout)]) == 0
    with Staging(layout) as stage, stage.create("x", begun=True) as file:
        file.write(b"begun")
    assert [path.read_bytes() for path in outside.iterdir()] == [b"mine"]


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_a_link_in_place_of_a_directory(tmp_path: Path, name: str) -> None:
    layout, outside = tmp_path / "layout", tmp_path / "outside"
    outside.mkdir()
    (layout / name).parent.mkdir(parents=True, exist_ok=True)
    (layout / name).symlink_to(outside)
    with pytest.raises(InvalidImage, match="symbolic link"):
        LayoutWriter(layout)
    assert not list(outside.iterdir())


def test_links_in_place_of_blobs_and_documents(tmp_path: Path, precious: Path) -> None:
    layout = tmp_path / "layout"
    with LayoutWriter(layout) as writer:
        digest = writer.add(b"{}")
        for path in (writer.path(digest), layout / "oci-layout"):
            path.unlink(missing_ok=True)
            path.symlink_to(precious)
        writer.add(b"{}")
        writer.finish([{"digest": str(digest), "size": 2}], "latest")
        assert precious.read_bytes() == b"mine"
        assert not writer.path(digest).is_symlink()
        assert not (layout / "oci-layout").is_symlink()


def test_no_file_of_the_directory_is_written_to(tmp_path: Path) -> None:
    """Not even one that has come to be where we write: it is replaced."""
    with Staging(tmp_path) as stage:
        other = tmp_path / "other"
        other.write_bytes(b"mine")
        stage.path("x").symlink_to(other)
        with stage.create("x") as file:
            file.write(b"theirs")
        assert other.read_bytes() == b"mine"
        assert stage.path("x").parent.stat().st_mode & 0o777 == 0o700


def test_directories_that_are_called_like_ours(tmp_path: Path, precious: Path) -> None:
    """Nothing outside is removed or moved, whatever they hold, and others' names stay."""
    ours, other = tmp_path / (".browsermount-" + "0" * 32), tmp_path / ".browsermount-0"
    ours.mkdir()
    (ours / "link").symlink_to(precious)
    (ours / "folder").symlink_to(precious.parent)
    link = tmp_path / (".browsermount-" + "1" * 32)
    link.symlink_to(other)
    other.mkdir()
    (other / "file").touch()
    Staging(tmp_path).close()
    assert precious.read_bytes() == b"mine"
    assert (other / "file").exists()
    assert link.is_symlink()
    assert not ours.exists()


@pytest.mark.parametrize("kind", ["pipe", "huge", "deep"])
def test_an_index_that_would_not_end(tmp_path: Path, kind: str) -> None:
    with LayoutWriter(tmp_path) as writer:
        digest = writer.add(b"{}")
        path = tmp_path / "index.json"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        else:
            path.write_bytes(b"[" * 100_000)
        with pytest.raises(InvalidImage, match="cannot be read"):
            writer.finish([{"digest": str(digest), "size": 2}], "latest")


@pytest.mark.parametrize("place", ["blobs/sha256", ".partial"])
def test_a_pipe_in_place_of_a_blob(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_ATTEMPTS", 1)

    class Nothing:
        async def get_blob(self, descriptor: Descriptor, **_: object) -> object:
            raise NetworkError("asked for, as it should be")

    descriptor = Descriptor("", Digest.of(b"x"), 1)
    with LayoutWriter(tmp_path) as writer:
        (tmp_path / place).mkdir(exist_ok=True)
        os.mkfifo(tmp_path / place / descriptor.digest.encoded)
        copy = Copy(writer, Nothing(), descriptor, lambda size: None)  # type: ignore[arg-type]
        with pytest.raises(NetworkError, match="asked for"):
            asyncio.run(asyncio.wait_for(copy.run(), 20))


# -- Several at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["pull"], ["convert", "-c", "gzip"]])
def test_a_layer_that_an_image_has_several_times(tmp_path: Path, command: list[str]) -> None:
    """They come at the same time, into the same blob."""
    source, target = tmp_path / "image", tmp_path / "layout"
    write(Layout().add(*[BIG] * 3, compress=False), source)
    assert main([*command, str(source), str(target)]) == 0
    assert main(["cat", str(target), "/big"]) == 0
    assert hidden(target) == []


def test_several_runs_at_once(tmp_path: Path, image: Path) -> None:
    target = tmp_path / "layout"
    names = [f"v{number}" for number in range(4)]
    runs = [
        subprocess.Popen([*BROWSERMOUNT, "pull", "-q", "--name", name, str(image), str(target)])
        for name in names
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    manifests = json.loads((target / "index.json").read_bytes())["manifests"]
    found = {m["annotations"]["org.opencontainers.image.ref.name"] for m in manifests}
    assert found == set(names)
    assert hidden(target) == []
    assert (target / "blobs" / "sha256" / big_blob(image).name).read_bytes() == BIG


def test_the_directory_of_a_run_that_goes_on_stays(tmp_path: Path) -> None:
    with Staging(tmp_path) as first:
        with first.create("x") as file:
            file.write(b"begun")
        Staging(tmp_path).close()
        assert first.path("x").read_bytes() == b"begun"


def test_a_process_that_does_not_let_go_of_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "LOCK_SECONDS", 0.1)
    with LayoutWriter(tmp_path) as writer:
        digest = writer.add(b"{}")
        other = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LayoutBusy):
            writer.finish([{"digest": str(digest), "size": 2}], "latest")
        os.close(other)
        writer.finish([{"digest": str(digest), "size": 2}], "latest")


# -- Runs that end early --------------------------------------------------------------------------


class Holding(BaseHTTPRequestHandler):
    """Sends half of a large blob and then nothing, unless it is asked for the rest."""

    layout: Path
    half = threading.Event()
    ranges: list[str]

    def do_GET(self) -> None:
        path = self.layout / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, wanted = path.read_bytes(), self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted:
            self.ranges.append(wanted)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if wanted or len(data) < 1 << 20:
            self.wfile.write(data[start:])
            return
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.half.set()
        self.connection.recv(1)  # until the other end is gone

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def holding(image: Path) -> Iterator[str]:
    Holding.layout, Holding.ranges = image, []
    Holding.half.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Holding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def ended(command: list[str], number: int, target: Path, temporary: Path) -> int:
    """End a command by a signal when half of a blob has come, and return its exit code."""
    process = subprocess.Popen(
        [*BROWSERMOUNT, *command], env={**os.environ, "TMPDIR": str(temporary)}
    )
    assert Holding.half.wait(30)
    end = time.monotonic() + 20
    while not any(path.stat().st_size for path in target.glob(".browsermount-*/*")):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_pull_that_is_ended_goes_on_later(
    image: Path, holding: str, tmp_path: Path, number: int
) -> None:
    layout, temporary = tmp_path / "layout", tmp_path / "temporary"
    temporary.mkdir()
    code = ended(["pull", "-q", holding, str(layout)], number, layout, temporary)
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 128 + number
        assert hidden(layout) == [".partial"]
    assert main(["pull", "-q", holding, str(layout)]) == 0
    assert len(Holding.ranges) == 1
    assert Holding.ranges != ["bytes=0-"]
    assert hidden(layout) == []
    assert (layout / "blobs" / "sha256" / big_blob(image).name).read_bytes() == BIG
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_conversion_that_is_ended_leaves_nothing(
    image: Path, holding: str, tmp_path: Path, number: int
) -> None:
    layout, temporary = tmp_path / "layout", tmp_path / "temporary"
    temporary.mkdir()
    command = ["convert", "-q", "-c", "gzip", holding, str(layout)]
    assert ended(command, number, layout, temporary) == 128 + number
    assert hidden(layout) == []
    assert not list(temporary.iterdir())


def test_a_hangup_that_is_ignored_ends_nothing(image: Path, tmp_path: Path) -> None:
    program = (
        "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from browsermount.cli import layouts, main\n"
        "import sys; add = layouts.LayoutWriter.add\n"
        "layouts.LayoutWriter.add = lambda *a: (os.kill(os.getpid(), signal.SIGHUP), add(*a))[1]\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "pull", str(image), str(tmp_path / "layout")]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_what_was_begun_is_not_lost_to_less(tmp_path: Path) -> None:
    """A run that is killed while it copies what was there has less of it."""
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "x").write_bytes(b"12345")
    left = tmp_path / (".browsermount-" + "0" * 32)
    left.mkdir()
    (left / "x").write_bytes(b"123")
    with Staging(tmp_path) as stage:
        begun = stage.begun("x")
        assert begun is not None
        with begun:
            assert begun.read() == b"12345"
