"""Processes are started in the guest as the image's config says, and as docker would."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from browsermount.errors import InvalidProcess
from tests.compare.guest import change_spec, run_in_guest
from tests.compare.readers import mount_layout
from tests.fixtures import fixture


def without_terminal(spec: dict[str, Any]) -> None:
    spec["process"]["terminal"] = False


async def run(tag: str) -> tuple[str, int]:
    mounted = await mount_layout(fixture("configs") / "layout", tag)
    change_spec(mounted, without_terminal)
    output, errors, code = await run_in_guest(mounted)
    assert errors == b""
    return output.decode(), code


@pytest.mark.parametrize(
    ("tag", "output"),
    [
        ("cmd-exec", "a b $HOME\n"),
        ("cmd-shell", "/root\n"),
        ("entrypoint-and-cmd", "a b\n"),
        (
            "env",
            "PATH=/bin:/usr/bin\nHOSTNAME=browsermount\nTERM=xterm-256color\nEMPTY=\n"
            "EQUALS=a=b=c\nSPACES= a b \nUNICODE=\u65e5\u672c\nHOME=/elsewhere\n",
        ),
        ("user-name", "uid=1000(user) gid=1000(user) groups=50(staff),1000(user),2000(extra)\n"),
        ("user-name-group-name", "uid=1000(user) gid=2000(extra) groups=2000(extra)\n"),
        ("user-uid-gid", "uid=4242 gid=4343 groups=4343\n"),
        ("user-uid-no-passwd", "uid=1234 gid=0 groups=0\n"),
        ("workdir-missing", "/not/there/yet\n"),
        ("workdir-relative", "/home\n"),
    ],
)
def test_output(tag: str, output: str) -> None:
    assert asyncio.run(run(tag)) == (output, 0)


def test_exit_code() -> None:
    assert asyncio.run(run("exit-code")) == ("", 42)


@pytest.mark.parametrize("tag", ["nothing", "user-unknown", "user-group-unknown"])
def test_what_cannot_be_started(tag: str) -> None:
    with pytest.raises(InvalidProcess):
        asyncio.run(run(tag))
