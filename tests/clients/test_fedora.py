"""Clients in an image whose authorities are where Fedora and its like have them.

    BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/clients/test_fedora.py

The programs are Debian's, set up by their own files as Fedora's are built: p11-kit's trust tool
reads the administrator's anchors and writes what programs read; nothing is where Debian has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients import repositories
from tests.clients.container import Internet, run
from tests.clients.repositories import HELLO, static
from tests.clients.test_downloads import DIGEST, WITHOUT_VARIABLES, files
from tests.fixtures import fixture
from tests.fixtures.tools import umoci_add

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)

URL = "https://files.example/data"
EXTRACTED = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
LINKS = {
    "etc/pki/tls/certs/ca-bundle.crt": f"/{EXTRACTED}",
    "etc/pki/tls/cert.pem": f"/{EXTRACTED}",
    "etc/ssl/certs": "../pki/tls/certs",
}
# Debian's are gone.
REMOVED = (
    "etc/ssl/.wh.certs",
    "usr/share/.wh.ca-certificates",
    "usr/sbin/.wh.update-ca-certificates",
)
DNF = "[main]\nsslcacert=/etc/pki/tls/certs/ca-bundle.crt\n"
# What Fedora's p11-kit is configured with when it is built.
TRUST = (
    "module: p11-kit-trust.so\ntrust-policy: yes\npriority: 1\n"
    "x-init-reserved: paths='/etc/pki/ca-trust/source'\n"
)
# The part of Fedora's script that counts here.
UPDATE = f"""#!/bin/sh
exec trust extract --comment --format=pem-bundle --filter=ca-anchors --overwrite \\
  --purpose server-auth /{EXTRACTED}
"""
# Go looks for these files by itself.
GO = """
package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil { fmt.Println(err); os.Exit(1) }
	io.Copy(os.Stdout, answer.Body)
}
"""


def other_authority(folder: Path) -> str:
    """One as a distribution brings them."""
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    made = ("-nodes", "-subj", "/O=other", "-days", "30", "-keyout", "/dev/null", "-out")
    subprocess.run([*command, *made, folder / "other.pem"], check=True, capture_output=True)
    return (folder / "other.pem").read_text()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of the other tests here, with one more layer."""
    work = tmp_path_factory.mktemp("fedora")
    tree = work / "tree"
    authority = other_authority(work)
    contents = {
        EXTRACTED: authority,
        "etc/pki/ca-trust/source/anchors/other.crt": authority,
        "etc/dnf/dnf.conf": DNF,
        "usr/share/p11-kit/modules/p11-kit-trust.module": TRUST,
        "usr/bin/update-ca-trust": UPDATE,
        **dict.fromkeys(REMOVED, ""),
    }
    for name, text in contents.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name, target in LINKS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(target)
    (tree / "usr/bin/update-ca-trust").chmod(0o755)
    (work / "get.go").write_text(GO)
    static_go = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    subprocess.run(
        ["go", "build", "-o", tree / "usr/bin/get", work / "get.go"], env=static_go, check=True
    )
    archive = work / "layer.tar"
    repositories.run("tar", "-cf", archive, "--owner=0", "--group=0", "-C", tree, "etc", "usr")
    layout = work / "image"
    # Blobs are only added.
    shutil.copytree(fixture("clients") / "image", layout, copy_function=os.link)
    index = (layout / "index.json").read_bytes()
    (layout / "index.json").unlink()
    (layout / "index.json").write_bytes(index)
    umoci_add(f"{layout}:latest", archive)
    return layout


def test_fedoras_places(tmp_path: Path, image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    repositories.make_rpm_repository(tmp_path / "rpm")
    internet = Internet({"files.example": files, "packages.example": static(tmp_path / "rpm")})
    code = run(
        image,
        f"""
set -e; cd /tmp
test ! -e /etc/ssl/certs/ca-certificates.crt
{WITHOUT_VARIABLES} get {URL} | sha256sum
{WITHOUT_VARIABLES} dnf -y --repofrompath=here,https://packages.example --repo=here --nogpgcheck \\
  install greeting 2>&1
greeting
trust list --filter=ca-anchors | grep -c 'label: '
cp /{EXTRACTED} before; update-ca-trust; cmp -s /{EXTRACTED} before && echo same
grep -c BEGIN /{EXTRACTED}
{WITHOUT_VARIABLES} get {URL} | sha256sum
""",
        internet,
    )
    written = capfd.readouterr()
    assert code == 0, f"{written.out}\n{written.err}\n{internet.told}"
    assert written.out.count(DIGEST) == 2
    assert HELLO in written.out
    # The other one and the page's: also after all was made anew.
    assert written.out.split("\n")[-4:-2] == ["2", "2"]
