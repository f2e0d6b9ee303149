"""Images of random layers."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from tests.core.random_layers import FORMATS, random_layer
from tests.fixtures.layout import Layout, gzip_layer, tar_of


def write_random_images(path: Path, seeds: Iterable[int]) -> None:
    """Write a layout of random images; each has its seed as its name."""
    layout = Layout(path)
    layout.finish([_image(layout, seed) for seed in seeds])


def _image(layout: Layout, seed: int) -> dict[str, object]:
    source = random.Random(seed)
    count = source.randint(1, 5)
    archives = [
        tar_of(random_layer(source, number), format=source.choice(FORMATS))
        for number in range(count)
    ]
    return layout.image([gzip_layer(archive) for archive in archives], ref=str(seed))
