"""``browsermount build-site``: a folder to publish, with the page and perhaps an image in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from browsermount.cli.images import Opening, opening_options, run_async
from browsermount.cli.pull import pull
from browsermount.cli.site import site_directory
from browsermount.machines import MachineKind, machine_for
from browsermount.oci.platform import RUNNABLE

_STAMP = ".build.json"
_IMAGES = "images"
_DEFAULT = "default"
_MACHINE = '<meta name="browsermount-default-machine" content="{}" />'


@click.command("build-site")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--image",
    metavar="IMAGE",
    help="The image that the page runs when its address names none; default: a small Debian.",
)
@click.option("--force", is_flag=True, help="Replace what is in OUT.")
@opening_options
def command(opening: Opening, out: Path, image: str | None, force: bool) -> None:
    """Make a folder with the page, to publish.

    It is ready for any static web server: it needs no headers and works under any path, on GitHub
    Pages for example. With --image, the page runs that image:

    \b
      browsermount build-site --image ./my-image.tar public
      browsermount serve  # or publish the folder
    """
    if out.exists() and any(out.iterdir()) and not force and not (out / _STAMP).exists():
        raise click.UsageError(f"{out} is not empty: give --force to replace what is in it")
    site = site_directory()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".site-") as work:
        new = Path(work) / "site"
        leave = shutil.ignore_patterns(_DEFAULT) if image else None
        shutil.copytree(site, new, ignore=leave)
        if image:
            folder = new / _IMAGES / _DEFAULT
            pulled = run_async(pull(opening, image, folder, default=RUNNABLE))
            _name_machine(new / "index.html", machine_for(pulled.images[0].platform))
        new.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        new.rename(out)
    click.echo(f"{out} holds the page. Copy it to a web server, or look at it with:")
    click.echo(f"  python3 -m http.server --directory {out}")


def _name_machine(page: Path, machine: MachineKind) -> None:
    """Say in the page which machine it is to start before it knows the image."""
    text = page.read_text()
    assert text.count(_MACHINE.format("v86")) == 1
    page.write_text(text.replace(_MACHINE.format("v86"), _MACHINE.format(machine)))
