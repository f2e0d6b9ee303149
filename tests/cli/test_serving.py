"""``serve``, ``build-site`` and ``9p``: what others read from us."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from browsermount.cli import main
from browsermount.cli.warm import LABEL
from browsermount.layers.index import LayerIndex
from browsermount.state import decode_known, read_state
from tests.cli.test_reading import write
from tests.core.images import Layout, member, tar
from tests.fixtures import fixture

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "web" / "images" / "default"
COMMAND = [sys.executable, "-m", "browsermount"]


@contextmanager
def started(*arguments: object) -> Iterator[list[str]]:
    """Start a server, give the first lines that it writes, and end it as Ctrl-C does."""
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout.readline, "")  # type: ignore[misc]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert process.returncode in (0, 130)


def archive(tmp_path: Path) -> Path:
    path = tmp_path / "saved.tar"
    source = f"oci:{fixture('configs')}/layout:cmd-exec"
    command = ["skopeo", "--override-arch", "386", "copy", "-q", source]
    subprocess.run([*command, f"docker-archive:{path}:it:latest"], check=True)
    return path


def test_serve(tmp_path: Path) -> None:
    path = archive(tmp_path)
    with started("serve", "--port", 0, DEFAULT, f"mine={path}") as lines:
        base = next(lines).split()[-1]
        assert next(lines).strip() == f"{base}?image=images/default/"
        assert next(lines).strip() == f"{base}?image=images/mine/"
        assert "page.js" in httpx.get(base).text
        index = httpx.get(f"{base}images/mine/index.json", headers={"Origin": "https://x.example"})
        assert index.headers["access-control-allow-origin"] == "*"
        assert index.json()["manifests"][0]["platform"]["architecture"] == "386"
        layer = max((DEFAULT / "blobs" / "sha256").iterdir(), key=lambda blob: blob.stat().st_size)
        url = f"{base}images/default/blobs/sha256/{layer.name}"
        part = httpx.get(url, headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, layer.read_bytes()[5:10])


def test_a_site_with_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "public"
    image = archive(tmp_path)
    assert main(["build-site", "--image", str(image), str(out)]) == 0
    assert 'name="browsermount-default-machine" content="v86"' in (out / "index.html").read_text()
    assert 'name="browsermount-warm" content=""' in (out / "index.html").read_text()
    assert (out / "vm" / "snapshot.zst").exists()
    assert not (out / "warm").exists()
    assert main(["ls", str(out / "images" / "default"), "/etc"]) == 0
    assert "passwd" in capsys.readouterr().out
    assert main(["build-site", "--image", str(fixture("foreign") / "amd64"), str(out)]) == 0
    assert 'name="browsermount-default-machine" content="x64"' in (out / "index.html").read_text()
    assert main(["build-site", str(out)]) == 0
    assert main(["ls", str(out / "images" / "default"), "/usr/games"]) == 0
    assert len(list((out / "warm").iterdir())) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    assert main(["build-site", str(tmp_path / "other")]) == 125
    assert "--force" in capsys.readouterr().err


def shell(folder: Path, **config: object) -> str:
    """Write an image that has just a shell, and another program."""
    busybox = (fixture("busybox") / "busybox").read_bytes()
    layer = tar(member("bin/sh", busybox, mode=0o755), member("bin/ls", busybox, mode=0o755))
    write(Layout().add(layer, platform="linux/amd64", config={"Cmd": ["sh"], **config}), folder)
    return str(folder)


def test_a_site_with_an_image_at_its_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "public"
    build = ["build-site", "--warm", "-q", str(out), "--image"]
    assert main([*build, shell(tmp_path / "shell")]) == 0
    (state,) = (out / "warm").iterdir()
    assert f'"browsermount-warm" content="warm/{state.name}"' in (out / "index.html").read_text()
    content = state.read_bytes()
    digest, machine, _ = state.name.split(".")
    assert (content[16:48].hex(), machine) == (digest, "x64")
    saved = read_state(io.BytesIO(content))
    assert saved.options.network
    assert saved.authority == b""
    assert len(saved.server["ninep"]["fids"]) > 3
    # A page opens the layers without a look at them.
    known = decode_known(saved.server["known"])
    (index,) = (data for key, data in known.items() if key.endswith(".index"))
    members = [entry.name for entry in LayerIndex.from_bytes(index).entries]
    assert members == [b"bin/sh", b"bin/ls"]
    # The guest has what is typed first: the file is open.
    inode = 3 + members.index(b"bin/ls")
    assert inode in (ino for _, ino, is_open, *_ in saved.server["ninep"]["fids"] if is_open)
    # What has no prompt, or says no, is no such image; the site stays as it was.
    assert main([*build, shell(tmp_path / "no", Labels={LABEL: "no"})]) == 125
    assert f"{LABEL}=no" in capsys.readouterr().err
    assert main([*build, shell(tmp_path / "exits", Cmd=["sh", "-c", "exit 3"])]) == 125
    assert "ends with exit code 3" in capsys.readouterr().err
    assert main(["build-site", "--warm", str(out)]) == 125
    assert "--image" in capsys.readouterr().err
    assert state.exists()


def test_errors_of_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path)]) == 125
    assert "index.json" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "no")]) == 125
    assert "no file or directory" in capsys.readouterr().err
    assert main(["serve", str(DEFAULT), str(DEFAULT)]) == 125
    assert "NAME=PATH" in capsys.readouterr().err


def diod(program: str, port: str, *arguments: str) -> bytes:
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    command = [program, "-s", f"127.0.0.1:{port}", "-a", "rootfs", *arguments]
    return subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "PATH": path}
    ).stdout


def test_another_client_reads_what_9p_serves() -> None:
    """diod's own client sees the tree and its bytes."""
    with started("9p", DEFAULT, "--listen", "tcp:0") as lines:
        address = next(lines).split()[-1]
        assert address.startswith("tcp:127.0.0.1:")
        port = address.rpartition(":")[2]
        names = diod("diodls", port, "/etc").decode().split()
        assert {"passwd", "motd", "profile"} <= set(names)
        listed = main_output("ls", DEFAULT, "/etc").split()
        assert sorted(set(names) - {".", ".."}) == sorted(listed)
        assert diod("diodcat", port, "/usr/bin/busybox") == main_bytes(
            "cat", DEFAULT, "/usr/bin/busybox"
        )


def main_bytes(*arguments: object) -> bytes:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def main_output(*arguments: object) -> str:
    return main_bytes(*arguments).decode()


def test_a_unix_socket_goes_when_the_server_does(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started("9p", DEFAULT, "--listen", f"unix:{path}") as lines:
        assert next(lines).strip().endswith(f"unix:{path}")
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.parametrize("address", ["udp:5640", "tcp:host:port", "tcp:127.0.0.1:70000", "unix:"])
def test_addresses_that_are_none(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["9p", str(DEFAULT), "--listen", address]) == 125
    assert capsys.readouterr().err.startswith("browsermount: ")


def test_json_of_inspect_is_for_programs() -> None:
    assert json.loads(main_output("inspect", "--json", DEFAULT))["platform"] == "linux/386"
