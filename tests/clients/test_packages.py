"""Package managers and Git, as people have them in images, with the page's network.

    BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/clients

Beside the fixtures' tools: apt-get install dpkg-dev rpm createrepo-c
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import repositories
from tests.clients.container import Internet, run
from tests.clients.repositories import HELLO, Server, git_server, static
from tests.fixtures import fixture

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)

BRANCHES = 60
Run = Callable[..., str]


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a script in a container, to a good end, and returns what it has written."""

    def run_script(script: str, host: str, server: Server, image: str = "clients") -> str:
        internet = Internet({host: server})
        code = run(fixture(image) / "image", f"set -e; cd /tmp; {script}", internet)
        written = capfd.readouterr()
        asked = "\n".join(f"{it.method} {it.url}" for it in internet.asked)
        assert code == 0, f"{written.out}\n{written.err}\n{asked}\n{internet.told}"
        return written.out + written.err

    return run_script


def test_git(tmp_path: Path, output: Run) -> None:
    """So many branches that Git gzips what it asks for; and a push."""
    repositories.make_git(tmp_path, BRANCHES)
    text = output(
        """
git clone --quiet https://git.example/project.git
cd project
git branch --remotes | grep -c branch-
git fsck --no-progress --connectivity-only && sha256sum data
git config user.email a@a.example; git config user.name a
echo more > more; git add more; git commit --quiet -m more
git push --quiet origin HEAD:pushed
env -u GIT_SSL_CAINFO git ls-remote origin pushed
""",
        "git.example",
        git_server(tmp_path),
    )
    assert str(BRANCHES) in text.split()
    assert "refs/heads/pushed" in text
    pushed = repositories.run("git", "-C", tmp_path / "project.git", "show", "pushed:more")
    assert pushed == b"more\n"


def test_pip(tmp_path: Path, output: Run) -> None:
    repositories.make_python_index(tmp_path)
    text = output(
        """
pip install --no-cache-dir --break-system-packages --root-user-action ignore \
  --disable-pip-version-check --index-url https://index.example/simple greeting
python3 -c 'import greeting; greeting.main()'
""",
        "index.example",
        static(tmp_path),
    )
    assert HELLO in text


def test_npm(tmp_path: Path, output: Run) -> None:
    url = "https://registry.example/"
    repositories.make_node_registry(tmp_path / "npm", url)
    text = output(
        f"npm install --no-audit --no-fund --registry {url} greeting; node_modules/.bin/greeting",
        "registry.example",
        static(tmp_path / "npm"),
    )
    assert HELLO in text


def test_apt(tmp_path: Path, output: Run) -> None:
    repositories.make_debian_repository(tmp_path)
    text = output(
        """
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] https://packages.example ./' > /etc/apt/sources.list
apt-get -o APT::Sandbox::User=root update 2>&1; apt-get install -y greeting 2>&1; greeting
""",
        "packages.example",
        static(tmp_path),
    )
    assert HELLO in text


def test_dnf(tmp_path: Path, output: Run) -> None:
    repositories.make_rpm_repository(tmp_path / "rpm")
    text = output(
        """
dnf -y --repofrompath=here,https://packages.example --repo=here --nogpgcheck install greeting 2>&1
greeting
""",
        "packages.example",
        static(tmp_path / "rpm"),
    )
    assert HELLO in text


def test_apk(tmp_path: Path, output: Run) -> None:
    repositories.make_alpine_repository(tmp_path)
    text = output(
        """
echo https://packages.example > /etc/apk/repositories
env -u SSL_CERT_FILE apk add --allow-untrusted greeting 2>&1; greeting
""",
        "packages.example",
        static(tmp_path),
        "alpine",
    )
    assert HELLO in text
