"""``browsermount pull``: verified, resumable, from servers that fail in between."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from browsermount.cli import main
from tests.core.images import INDEX_TYPE, Layout, member, tar
from tests.fixtures import fixture
from tests.servers import served
from tests.servers.registry import NO_CORS, Registry, registry

from .test_reading import write

BROWSERMOUNT = [sys.executable, "-m", "browsermount"]
BIG = tar(member("big", bytes(range(256)) * 12_000), member("small", b"x"))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write(Layout().add(BIG, tar(member("two", b"2")), compress=False), tmp_path / "image")
    return tmp_path / "image"


def blobs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}


def test_a_layout_that_other_tools_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    source = fixture("configs") / "layout"
    for name in ("cmd-exec", "user-name"):
        assert main(["pull", f"{source}#{name}", str(target)]) == 0
        digest = capsys.readouterr().out.strip()
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", f"oci:{target}:{name}"], capture_output=True, check=True
        ).stdout
        assert Layout().blob(raw, "")["digest"] == digest
    subprocess.run(["umoci", "ls", "--layout", target], check=True)
    assert main(["cat", f"{target}#cmd-exec", "/etc/passwd"]) == 0


class Breaking(SimpleHTTPRequestHandler):
    """Breaks off large files, and then answers Range requests."""

    ranges: list[str]

    def send_head(self) -> Any:
        wanted = self.headers.get("Range")
        if not wanted:
            return super().send_head()
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        path = Path(self.translate_path(self.path))
        file = path.open("rb")
        file.seek(start)
        size = path.stat().st_size
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        return file

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(1_000_000))
        if source.read(1):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def breaking(layout: Path) -> Iterator[tuple[str, list[str]]]:
    Breaking.ranges = []
    handler = functools.partial(Breaking, directory=str(layout))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", Breaking.ranges
        server.shutdown()
        thread.join()


def test_connections_that_break(
    layout: Path, breaking: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ranges = breaking
    assert main(["pull", url, str(tmp_path / "out")]) == 0
    assert blobs(tmp_path / "out") == blobs(layout)
    assert ranges == ["bytes=1000000-", "bytes=2000000-", "bytes=3000000-"]


def test_going_on_where_it_was_broken_off(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    name, whole = max(blobs(layout).items(), key=lambda item: len(item[1]))
    (target / "blobs" / "sha256").mkdir(parents=True)
    (target / ".partial").mkdir()
    partial = target / ".partial" / name
    partial.write_bytes(whole[:2_000_000])
    with served(layout.parent) as url:
        assert main(["pull", f"{url}image/", str(target)]) == 0
        assert blobs(target) == blobs(layout)
        assert not (target / ".partial").exists()
        # What is there and damaged is fetched again.
        (target / "blobs" / "sha256" / name).write_bytes(whole[:-1] + b"?")
        assert main(["pull", f"{url}image/", str(target)]) == 0
        assert blobs(target) == blobs(layout)


def test_what_was_begun_wrongly_is_given_up(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    name, _ = max(blobs(layout).items(), key=lambda item: len(item[1]))
    (target / "blobs" / "sha256").mkdir(parents=True)
    (target / ".partial").mkdir()
    (target / ".partial" / name).write_bytes(b"?" * 1000)
    with served(layout.parent) as url:
        assert main(["pull", f"{url}image/", str(target)]) == 0
    assert blobs(target) == blobs(layout)
    assert not (target / ".partial").exists()


def test_a_folder_of_somebody_else(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert main(["pull", str(layout), str(tmp_path / "mine")]) == 125
    assert "not empty" in capsys.readouterr().err


# -- Registries, and the credentials that docker has ---------------------------------------------


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    work = tmp_path_factory.mktemp("registry")
    with registry(work, cors=NO_CORS, users={"alice": "secret"}) as server:
        server.push(fixture("configs") / "layout", "cmd-exec", "team/app:v1", "alice:secret")
        yield server


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


def inspected(private: Registry) -> int:
    return main(["inspect", f"{private.host}/team/app:v1"])


def test_credentials_in_dockers_file(
    private: Registry, docker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspected(private) == 125
    assert capsys.readouterr().err.count("\n") == 1
    # As skopeo's and docker's login write it.
    docker.write_text(
        json.dumps({"auths": {f"https://{private.host}/v1/": {"auth": "YWxpY2U6c2VjcmV0"}}})
    )
    assert inspected(private) == 0
    docker.write_text(json.dumps({"auths": {private.host: {"auth": "YWxpY2U6d3Jvbmc="}}}))
    assert inspected(private) == 125
    docker.write_text(json.dumps({"auths": {private.host: {"auth": "?"}}}))
    capsys.readouterr()
    assert inspected(private) == 125
    assert "docker login" in capsys.readouterr().err


def test_credential_helpers(
    private: Registry,
    docker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    helper = docker.parent / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\n[ "$1" = get ] && read server\n'
        f'[ "$server" = {private.host} ] || {{ echo no server; exit 1; }}\n'
        'echo \'{"Username": "alice", "Secret": "secret"}\'\n'
    )
    helper.chmod(0o755)
    docker.write_text(json.dumps({"credHelpers": {private.host: "test"}}))
    assert inspected(private) == 125
    assert "docker-credential-test, which is not on PATH" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(docker.parent), prepend=":")
    assert inspected(private) == 0
    docker.write_text(json.dumps({"credsStore": "test"}))
    assert inspected(private) == 0
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain; exit 1\n")
    capsys.readouterr()
    assert inspected(private) == 125
    assert "has failed" not in capsys.readouterr().err


def test_certificates_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "no.pem"))
        assert main(["inspect", "http://127.0.0.1:9/image"]) == 125
        assert name in capsys.readouterr().err
        monkeypatch.delenv(name)


def test_proxies_of_the_environment(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.path = self.path.removeprefix("http://images.example")
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Proxy, directory=str(layout))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
        assert main(["inspect", "http://images.example/"]) == 0
        server.shutdown()
        thread.join()
    assert "http://images.example/index.json" in asked


def for_platforms(path: Path, *platforms: str) -> Path:
    """Write a layout with an index of an image for several platforms, and what is no image."""
    layout = Layout()
    entries = [
        layout.image(tar(member("which", p.encode())), platform=p, config={"Cmd": [p]})
        for p in platforms
    ]
    attestation = layout.image(tar(), platform="unknown/unknown")
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*entries, attestation]}
    layout.manifests = [layout.document(index, INDEX_TYPE)]
    write(layout, path)
    return path


def which(path: Path, platform: str, name: str = "latest") -> bytes:
    done = subprocess.run(
        [*BROWSERMOUNT, "cat", "--platform", platform, f"{path}#{name}", "/which"],
        capture_output=True,
        check=True,
    )
    return done.stdout


def names(path: Path) -> list[str]:
    manifests = json.loads((path / "index.json").read_bytes())["manifests"]
    return [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in manifests]


@pytest.mark.parametrize("command", [["pull"], ["convert", "-c", "zstd"], ["convert"]])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_several_platforms_make_one_index(
    tmp_path: Path, command: list[str], one_by_one: bool
) -> None:
    platforms = ["linux/amd64", "linux/386", "windows/amd64"]
    source, target = for_platforms(tmp_path / "source", *platforms), tmp_path / "target"
    options = [["--platform", p] for p in platforms] if one_by_one else [["--all-platforms"]]
    for option in options:
        arguments = [*BROWSERMOUNT, *command, *option, str(source), str(target)]
        said = subprocess.run(arguments, capture_output=True, check=True, text=True).stdout
    assert names(target) == ["latest"]
    for platform in platforms:
        assert which(target, platform) == platform.encode()
    index = json.loads((target / "index.json").read_bytes())["manifests"][0]
    assert index["digest"] == said.strip()
    # Other tools read it, too.
    inspected = subprocess.run(
        ["skopeo", "inspect", "--override-arch", "amd64", "--config", f"oci:{target}:latest"],
        capture_output=True,
        check=True,
    )
    assert json.loads(inspected.stdout)["architecture"] == "amd64"


def test_a_newer_image_replaces_that_for_its_platform_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    both = for_platforms(tmp_path / "both", "linux/amd64", "linux/386")
    newer = tmp_path / "newer"
    layout = Layout().add(tar(member("which", b"newer")), config={"Cmd": ["sh"]})
    write(layout, newer)
    for arguments in (["--all-platforms", both, target], [newer, target], [newer, target]):
        subprocess.run([*BROWSERMOUNT, "pull", *map(str, arguments)], check=True)
    assert which(target, "linux/386") == b"newer"
    assert which(target, "linux/amd64") == b"linux/amd64"
    other = [*BROWSERMOUNT, "pull", "--name", "v2", str(newer), str(target)]
    subprocess.run(other, check=True)
    assert names(target) == ["latest", "v2"]


def test_all_platforms_and_one(tmp_path: Path) -> None:
    arguments = ["pull", "--all-platforms", "--platform", "amd64", "x", str(tmp_path / "y")]
    done = subprocess.run([*BROWSERMOUNT, *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 125
    assert "cannot be given together" in done.stderr
