"""Servers of packages and of Git repositories, made of files by the tools that serve them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tests.clients.container import Asked
from tests.core.test_web_gateway import Answer
from tests.fixtures.tools import run

HELLO = "hello from a package"
_SCRIPT = f"#!/bin/sh\necho {HELLO}\n"

Server = Callable[[Asked], Answer]


def static(root: Path) -> Server:
    """Serve a folder's files."""

    def answer(asked: Asked) -> Answer:
        path = root / urlsplit(asked.path).path.lstrip("/")
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            return Answer(404)
        kind = "text/html" if path.suffix == ".html" else "application/octet-stream"
        return Answer(headers=[("content-type", kind)], parts=(path.read_bytes(),))

    return answer


# -- Git -----------------------------------------------------------------------------------------


def make_git(root: Path, branches: int) -> None:
    """Make ``project.git``, a repository with branches that have their root in common."""
    work = root / "work"

    def git(*command: str) -> None:
        names = ("AUTHOR", "COMMITTER")
        run(
            *("git", "-c", "init.defaultBranch=main", "-C", work, *command),
            variables={f"GIT_{n}_{k}": f"t@{k}.example" for n in names for k in ("NAME", "EMAIL")},
        )

    work.mkdir(parents=True)
    git("init", "--quiet")
    (work / "data").write_bytes(os.urandom(400_000))
    git("add", "data")
    git("commit", "--quiet", "-m", "first")
    for number in range(branches):
        git("checkout", "--quiet", "-b", f"branch-{number}", "main")
        (work / "number").write_text(f"{number}\n")
        git("add", "number")
        git("commit", "--quiet", "-m", str(number))
    git("checkout", "--quiet", "main")
    run("git", "clone", "--quiet", "--bare", work, root / "project.git")
    run("git", "-C", root / "project.git", "config", "http.receivepack", "true")


def git_server(root: Path) -> Server:
    """Serve repositories by Git's own program for web servers (RFC 3875)."""

    def answer(asked: Asked) -> Answer:
        url = urlsplit(asked.path)
        variables = {
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": asked.method,
            "CONTENT_TYPE": asked.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(asked.body)),
        }
        done = run("git", "http-backend", variables=variables, stdin=asked.body)
        head, _, body = done.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((int(value[:3]) for name, value in headers if name == "Status"), 200)
        return Answer(status, [(name, value) for name, value in headers], (body,))

    return answer


# -- Packages ------------------------------------------------------------------------------------


def make_python_index(root: Path) -> None:
    """Make an index (PEP 503) of one package, whose module says hello."""
    information = "greeting-1.0.dist-info"
    files = {
        "greeting.py": f"def main():\n    print({HELLO!r})\n",
        f"{information}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{information}/RECORD"] = "".join(f"{name},,\n" for name in files)
    name = "greeting-1.0-py3-none-any.whl"
    folder = root / "simple" / "greeting"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "index.html").write_text(
        f'<!DOCTYPE html><a href="{name}#sha256={digest}">{name}</a>'
    )


def _tar(files: Iterable[tuple[str, str, int]], *, end: bool = True) -> bytes:
    """Return a compressed archive of names, contents and modes; directories have a slash."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text, mode in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), mode
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            else:
                # Without it, apk takes a file for one of before 2010.
                digest = hashlib.sha1(text.encode()).hexdigest()
                member.pax_headers = {"APK-TOOLS.checksum.SHA1": digest}
            archive.addfile(member, io.BytesIO(text.encode()))
    plain = stream.getvalue()
    if not end:
        # Some formats go on behind the last member.
        plain = plain.rstrip(b"\0")
        plain += bytes(-len(plain) % tarfile.BLOCKSIZE)
    return gzip.compress(plain)


def make_node_registry(root: Path, url: str) -> None:
    """Make a registry of one package with a program."""
    about = {"name": "greeting", "version": "1.0.0", "bin": {"greeting": "run.js"}}
    program = f"#!/usr/bin/env node\nconsole.log({HELLO!r});\n"
    archive = _tar(
        [("package/package.json", json.dumps(about), 0o644), ("package/run.js", program, 0o755)]
    )
    root.mkdir(parents=True)
    (root / "greeting.tgz").write_bytes(archive)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    version = {**about, "dist": {"tarball": f"{url}greeting.tgz", "integrity": integrity}}
    document = {
        "name": "greeting",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
    }
    (root / "greeting").write_text(json.dumps(document))


def make_debian_repository(root: Path) -> None:
    """Make a flat repository of one package."""
    tree = root / "greeting"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@a.example>\n"
        "Description: says hello\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/greeting").write_text(_SCRIPT)
    (tree / "usr/bin/greeting").chmod(0o755)
    run("dpkg-deb", "--build", "--root-owner-group", tree, root / "greeting_1.0_all.deb")
    packages = run("dpkg-scanpackages", "--multiversion", ".", directory=root)
    (root / "Packages").write_bytes(packages)
    (root / "Packages.gz").write_bytes(gzip.compress(packages))


def make_alpine_repository(root: Path) -> None:
    """Make a repository of one package, in the form of apk-tools 2, without signatures."""
    folder = root / "x86_64"
    folder.mkdir(parents=True)
    content = _tar(
        [("usr/", "", 0o755), ("usr/bin/", "", 0o755), ("usr/bin/greeting", _SCRIPT, 0o755)]
    )
    about = (
        "pkgname = greeting\npkgver = 1.0-r0\narch = x86_64\nsize = 100\npkgdesc = says hello\n"
        f"url = x\nlicense = MIT\ndatahash = {hashlib.sha256(content).hexdigest()}\n"
    )
    control = _tar([(".PKGINFO", about, 0o644)], end=False)
    (folder / "greeting-1.0-r0.apk").write_bytes(control + content)
    checksum = "Q1" + base64.b64encode(hashlib.sha1(control).digest()).decode()
    index = (
        f"C:{checksum}\nP:greeting\nV:1.0-r0\nA:x86_64\nS:{len(control + content)}\nI:100\n"
        "T:says hello\nU:x\nL:MIT\n\n"
    )
    (folder / "APKINDEX.tar.gz").write_bytes(
        _tar([("DESCRIPTION", "x", 0o644), ("APKINDEX", index, 0o644)])
    )


def make_rpm_repository(root: Path) -> None:
    """Make a repository of one package."""
    root.mkdir(parents=True)
    (root / "greeting.spec").write_text(
        "Name: greeting\nVersion: 1.0\nRelease: 1\nSummary: says hello\nLicense: MIT\n"
        "BuildArch: noarch\nAutoReqProv: no\n%description\nSays hello.\n"
        "%install\nmkdir -p %{buildroot}/usr/bin\n"
        f"printf '#!/bin/sh\\necho {HELLO}\\n' > %{{buildroot}}/usr/bin/greeting\n"
        "chmod 755 %{buildroot}/usr/bin/greeting\n%files\n/usr/bin/greeting\n"
    )
    run("rpmbuild", "-bb", "--define", f"_topdir {root}/build", root / "greeting.spec")
    (package,) = root.glob("build/RPMS/noarch/*.rpm")
    package.rename(root / package.name)
    subprocess.run(["rm", "-r", root / "build"], check=True)
    run("createrepo_c", "--quiet", root)
