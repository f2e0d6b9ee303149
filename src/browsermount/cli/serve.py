"""``browsermount serve``: the page and local images at one address."""

from __future__ import annotations

import re
import webbrowser
from contextlib import ExitStack
from pathlib import Path

import click

from browsermount.cli.pull import as_layout
from browsermount.cli.site import site_directory


@click.command("serve")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--host", default="127.0.0.1", help="Where to listen; default: this machine only.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="0 takes any that is free.")  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--no-cors", is_flag=True, help="Let no pages of other origins read the images.")
def command(paths: tuple[str, ...], host: str, port: int, opens: bool, no_cors: bool) -> None:
    """Serve the page and images at one address.

    Each PATH is a layout directory, or an OCI or "docker save" archive, which is copied into a
    temporary layout. NAME=PATH gives it another name than the file's in the image's address.
    Range requests are answered, so that images can be read lazily.
    """
    from browsermount.httpd import address, application, listen, serve

    with ExitStack() as stack:
        images: dict[str, Path] = {}
        for text in paths:
            name, path = _named(text)
            if name in images:
                raise click.UsageError(f"two images have the name {name}: give NAME=PATH")
            images[name] = stack.enter_context(as_layout(path))
        site = site_directory()
        try:
            bound = listen(host, port)
        except OSError as error:
            raise click.ClickException(
                f"cannot listen on {host}, port {port}: {error.strerror}; "
                "--port chooses another one, --port 0 any that is free"
            ) from error
        base = address(bound)
        click.echo(f"Serving the page at {base}")
        links = [f"{base}?image=images/{name}/" for name in images]
        for link in links:
            click.echo(f"  {link}")
        if opens:
            webbrowser.open(links[0] if links else base)
        serve(application(site, images, cors=not no_cors), bound)


def _named(text: str) -> tuple[str, Path]:
    """Return the name that an image has in addresses, and where it is."""
    name, equals, path = text.partition("=")
    if equals and re.fullmatch(r"[A-Za-z0-9._-]+", name) and not Path(text).exists():
        return name, Path(path)
    path = text
    stem = re.sub(r"\.(tar|tar\.gz|tgz|tar\.zst)$", "", Path(path).absolute().name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem) or "image", Path(path)
