"""Attacks on the user's terminal by what images and servers say."""

from __future__ import annotations

import pytest

from browsermount.cli.app import _report
from browsermount.cli.inspect import _text
from browsermount.cli.printable import printable
from browsermount.cli.progress import progress
from browsermount.errors import ImageNotFound
from browsermount.events import Notice

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
ATTACKS = CLIPBOARD + "\x1b[2J\x9b2J\r\x7f\u202e"


def test_control_characters_are_escaped() -> None:
    assert printable("naïve 日本 🐧") == "naïve 日本 🐧"
    assert printable("\x1b[2J\u202e\x9b") == r"\x1b[2J\u202e\x9b"
    assert printable(ATTACKS).isprintable()


def test_an_error_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _report(ImageNotFound(f"no {ATTACKS}", hint=f"try {ATTACKS}"))
    _report(RuntimeError(ATTACKS))
    for line in capsys.readouterr().err.splitlines():
        assert line.isprintable(), line


def test_a_notice_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as on_event:
        on_event(Notice(ATTACKS))
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_a_config_cannot_control_the_terminal() -> None:
    text = _text(
        {
            "reference": "x",
            "digest": "sha256:0",
            "platform": f"linux/{ATTACKS}",
            "runnable": False,
            "config": {
                "created": ATTACKS,
                "config": {"Env": [f"A={ATTACKS}"], "Labels": {ATTACKS: ATTACKS}},
            },
            "images": [{"name": ATTACKS, "platform": ATTACKS, "digest": "sha256:0"}],
            "layers": [
                {"digest": "sha256:0", "size": 1, "kind": "tar", "lazy": False, "problem": ATTACKS}
            ],
        }
    )
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\x1b]52;c;ZXZpbA==\x07" in text
