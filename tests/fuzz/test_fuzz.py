"""Fuzzing of all that reads bytes of others.

In the ordinary run all targets share some seconds; ``BROWSERMOUNT_FUZZ_SECONDS`` gives each as many
as wanted. What fails is written to ``corpus/TARGET-DIGEST``, from where it is tried each time.
:mod:`tests.fuzz.guided` goes where changes at random do not get.
"""

from __future__ import annotations

import os
import time
from random import Random

import pytest

from .corpus import keep, kept
from .mutation import mended, mutated
from .targets import TARGETS, Target

ORDINARY_SECONDS = 40.0
"""For all targets together."""
SECONDS = float(os.environ.get("BROWSERMOUNT_FUZZ_SECONDS") or ORDINARY_SECONDS / len(TARGETS))
SLOW = 1.0
"""CPU seconds that no input of 64 KiB may take."""


def attempt(target: Target, data: bytes) -> bool:
    """Give a target bytes, and tell whether it took them; what it must not raise passes through."""
    start = time.process_time()
    try:
        target.run(data)
        return True
    except target.expected:
        return False
    finally:
        spent = time.process_time() - start
        assert spent < SLOW, f"{spent} seconds for {len(data)} bytes"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_corpus(name: str) -> None:
    assert all(attempt(TARGETS[name], seed) for seed in TARGETS[name].seeds)
    for path in kept(name):
        attempt(TARGETS[name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changed_bytes(name: str) -> None:
    target = TARGETS[name]
    seed = int(os.environ.get("BROWSERMOUNT_FUZZ_SEED", "0")) or time.time_ns()
    random = Random(seed)
    # What was taken is changed further.
    pool = [*target.seeds, *(path.read_bytes() for path in kept(name))]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        data = mutated(random.choice(pool), pool, random)
        if name in ("tar", "layer", "delta") and random.random() < 0.8:
            data = mended(data)
        try:
            if attempt(target, data) and len(pool) < 1000:
                pool.append(data)
        except Exception as error:
            path = keep(name, data)
            error.add_note(f"the input is kept as corpus/{path.name}; the seed was {seed}")
            raise
