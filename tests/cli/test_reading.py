"""The commands that look into images: inspect, ls, cat, export."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from browsermount.cli import main
from tests.compare.readers import mount_layout, read_directory, read_mount, work_directory
from tests.compare.records import ROOT, Known, differences
from tests.core.images import Layout, hardlink, member, symlink, tar
from tests.fixtures import fixture
from tests.servers import served


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    image = Layout()
    layer = tar(
        member("etc/"),
        member("etc/hosts", b"127.0.0.1 localhost\n", mtime=1_700_000_000, uid=7, gid=8),
        symlink("etc/link", "/etc/hosts"),
        hardlink("etc/hosts2", "etc/hosts"),
        member("bin/sh", bytes(range(256)) * 8192, mode=0o4755),
        member("odd\x1b[31m", b""),
    )
    image.add(layer, name="one", config={"Cmd": ["sh"], "Env": ["A=b"], "User": "who"})
    image.add(tar(member("two", b"2")), name="two", platform="linux/amd64")
    write(image, folder)
    return folder


def write(layout: Layout, folder: Path) -> None:
    for name, data in layout.index().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def output(capsysbinary: pytest.CaptureFixture[bytes], *arguments: object) -> bytes:
    code = main([str(argument) for argument in arguments])
    captured = capsysbinary.readouterr()
    assert code == 0, captured.err.decode()
    assert captured.err == b""
    return captured.out


def failure(capsysbinary: pytest.CaptureFixture[bytes], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 125
    captured = capsysbinary.readouterr()
    assert captured.out == b""
    text = captured.err.decode()
    assert text.startswith("browsermount: ")
    assert text.count("\n") == 1
    return text


Capture = pytest.CaptureFixture[bytes]


def test_ls(layout: Path, capsysbinary: Capture) -> None:
    assert output(capsysbinary, "ls", f"{layout}#one") == b"bin\netc\nodd\x1b[31m\n"
    assert output(capsysbinary, "ls", f"{layout}#one", "etc") == b"hosts\nhosts2\nlink\n"
    assert b"/etc/hosts2\n" in output(capsysbinary, "ls", "-R", f"oci:{layout}:one")
    lines = output(capsysbinary, "ls", "-l", f"{layout}#one", "/etc", "/bin/sh").decode()
    assert "/etc:\n-rw-r--r--    2     7     8         20 2023-11-14 22:13:20 hosts\n" in lines
    assert " link -> /etc/hosts\n" in lines
    assert lines.splitlines()[-1].startswith("-rwsr-xr-x ")
    assert "No such file" in failure(capsysbinary, "ls", f"{layout}#one", "/no")


def test_cat(layout: Path, capsysbinary: Capture) -> None:
    data = output(capsysbinary, "cat", f"{layout}#one", "etc/link", "/bin/sh")
    assert data == b"127.0.0.1 localhost\n" + bytes(range(256)) * 8192
    assert "Is a directory" in failure(capsysbinary, "cat", f"{layout}#one", "/etc")


def test_inspect(layout: Path, capsysbinary: Capture) -> None:
    image = json.loads(output(capsysbinary, "inspect", "--json", f"{layout}#one"))
    assert image["platform"] == "linux/386"
    assert image["runnable"] is True
    assert image["config"]["config"]["Env"] == ["A=b"]
    assert [layer["kind"] for layer in image["layers"]] == ["gzip"]
    text = output(capsysbinary, "inspect", layout, "--platform", "linux/amd64").decode()
    assert "linux/386 " in text
    assert "two" in text
    assert image["digest"] in text


@pytest.mark.parametrize(
    ("image", "kind", "lazy"),
    [
        ("original", "gzip", False),
        ("estargz", "estargz", True),
        ("zstd-chunked", "zstd:chunked", True),
    ],
)
def test_how_layers_are_packed(image: str, kind: str, lazy: bool, capsysbinary: Capture) -> None:
    folder = fixture("lazy") / image
    found = json.loads(output(capsysbinary, "inspect", "--json", folder))["layers"]
    assert {(layer["kind"], layer["lazy"]) for layer in found} == {(kind, lazy)}
    assert not any("problem" in layer for layer in found)


def test_an_image_over_http(layout: Path, capsysbinary: Capture, tmp_path: Path) -> None:
    with served(tmp_path, it=layout) as url:
        assert b"etc\n" in output(capsysbinary, "ls", f"{url}images/it#one")


def test_errors_are_one_line(layout: Path, capsysbinary: Capture) -> None:
    assert "no file or directory" in failure(capsysbinary, "ls", "./no")
    assert "one, two" in failure(capsysbinary, "cat", f"{layout}#three", "/x")
    assert "linux/386, linux/amd64" in failure(
        capsysbinary, "ls", layout, "--platform", "linux/s390x"
    )
    assert "--help" in failure(capsysbinary, "ls", "--frob", layout)
    assert "no processor" in failure(capsysbinary, "ls", layout, "--platform", "linux")
    assert "not a platform" in failure(capsysbinary, "ls", layout, "--platform", "a/b/c/d")
    assert "No such command" in failure(capsysbinary, "frob")


def test_a_reader_that_goes_away(layout: Path) -> None:
    command = [sys.executable, "-m", "browsermount", "cat", f"{layout}#one", "/bin/sh"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 128 + signal.SIGPIPE


def test_debug_shows_where_an_error_comes_from(capsysbinary: Capture) -> None:
    assert main(["--debug", "ls", "./no"]) == 125
    assert b"Traceback" in capsysbinary.readouterr().err


def test_export_of_a_path(layout: Path, tmp_path: Path, capsysbinary: Capture) -> None:
    archive = tmp_path / "etc.tar"
    output(capsysbinary, "export", f"{layout}#one", "/etc", "-o", archive)
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["etc", "etc/hosts", "etc/hosts2", "etc/link"]
        assert opened.getmember("etc/hosts2").islnk()
    assert archive.stat().st_size % 10240 == 0


@pytest.mark.parametrize("image", ["features", "features-tar"])
def test_an_extracted_export_is_the_tree(image: str, capsysbinary: Capture) -> None:
    """What GNU tar makes of the archive is what our API shows, with every odd name and time."""
    folder = fixture(image) / "layout"
    with work_directory() as work:
        output(capsysbinary, "export", folder, "-o", work / "all.tar")
        root = work / "root"
        root.mkdir()
        command = ["tar", "-x", "-p", "-C", root, "--numeric-owner", "--same-owner"]
        command += ["--xattrs", "--xattrs-include=*", "-f", work / "all.tar"]
        subprocess.run(command, check=True)
        extracted = read_directory(root)
    tree = asyncio.run(read(folder))
    # An archive of everything has no member for the root directory itself.
    del extracted[ROOT], tree[ROOT]
    known = [YEAR_9999] if image == "features" else []
    assert not (text := differences(tree, extracted, known)), f"\n{text}"


YEAR_9999 = Known(b"hand/year-9999", "mtime_ns", "ext4 holds no time after the year 2446")


async def read(folder: Path):  # type: ignore[no-untyped-def]
    return await read_mount(await mount_layout(folder))
