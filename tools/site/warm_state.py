"""Adds to a site the state that its default image goes on from: docs/sessions.md."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from browsermount.cli.build_site import name_image
from browsermount.cli.warm import make_warm_state


def add_warm_state(site: Path, kept: Path) -> None:
    """Add the state to a site, and name it in its page.

    Args:
        site: The site, with its default image.
        kept: The folder in which the state is, which is made where it is missing.
    """
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as work:
            made = Path(work) / "made"
            asyncio.run(make_warm_state(site / "images" / "default", made))
            try:
                made.rename(kept)
            except OSError:
                if not kept.exists():  # else somebody else was faster
                    raise
    (state,) = kept.iterdir()
    (site / "warm").mkdir()
    shutil.copyfile(state, site / "warm" / state.name)
    name_image(site / "index.html", "v86", state)
