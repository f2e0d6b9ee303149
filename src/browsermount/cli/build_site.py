"""``browsermount build-site``: a folder to publish, with the page and perhaps an image in it."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import click

from browsermount.cli.images import Opening, opening_options, run_async
from browsermount.cli.pull import pull
from browsermount.cli.site import site_directory
from browsermount.cli.warm import make_warm_state
from browsermount.machines import MachineKind, machine_for
from browsermount.oci.platform import RUNNABLE

_STAMP = ".build.json"
_IMAGES = "images"
_DEFAULT = "default"
_WARM = "warm"
_META = r'(<meta name="browsermount-{}" content=")[^"]*(" />)'


@click.command("build-site")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--image",
    metavar="IMAGE",
    help="The image that the page runs when its address names none; default: a small Debian.",
)
@click.option(
    "--warm",
    is_flag=True,
    help="With --image: add the state of the machine in which the image's shell is at its prompt, "
    "some 5 to 10 MB, from which each visit goes on at once. The random numbers that its processes "
    "have drawn are the same for all visitors then.",
)
@click.option("--force", is_flag=True, help="Replace what is in OUT.")
@opening_options
def command(opening: Opening, out: Path, image: str | None, warm: bool, force: bool) -> None:
    """Make a folder with the page, to publish.

    It is ready for any static web server: it needs no headers and works under any path, on GitHub
    Pages for example. With --image, the page runs that image:

    \b
      browsermount build-site --image ./my-image.tar --warm public
      browsermount serve  # or publish the folder
    """
    if warm and not image:
        raise click.UsageError("--warm is for the image that --image names: the default one has it")
    if out.exists() and any(out.iterdir()) and not force and not (out / _STAMP).exists():
        raise click.UsageError(f"{out} is not empty: give --force to replace what is in it")
    site = site_directory()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".site-") as work:
        new = Path(work) / "site"
        leave = shutil.ignore_patterns(_DEFAULT, _WARM) if image else None
        shutil.copytree(site, new, ignore=leave)
        if image:
            folder = new / _IMAGES / _DEFAULT
            pulled = run_async(pull(opening, image, folder, default=RUNNABLE))
            kind = machine_for(pulled.images[0].platform)
            state = run_async(make_warm_state(folder, new / _WARM)) if warm else None
            name_image(new / "index.html", kind, state)
        new.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        new.rename(out)
    click.echo(f"{out} holds the page. Copy it to a web server, or look at it with:")
    click.echo(f"  python3 -m http.server --directory {out}")


def name_image(page: Path, machine: MachineKind, state: Path | None) -> None:
    """Say in a page what it is to start before it knows its image.

    Args:
        page: The page, beside which the folder of states is.
        machine: The image's machine.
        state: The file of the state that it goes on from, if any.
    """
    text = page.read_text()
    warm = f"{_WARM}/{state.name}" if state else ""
    for name, value in (("default-machine", machine), ("warm", warm)):
        text, count = re.subn(_META.format(name), rf"\g<1>{value}\2", text)
        assert count == 1
    page.write_text(text)
