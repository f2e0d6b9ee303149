"""The core suites, run by pytest inside Pyodide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SUITES = sorted(path.name for path in Path(__file__).parents[1].glob("core/test_*.py"))

_RUN = """
import json, os, sys
import pytest

class Reports:
    def __init__(self):
        self.all = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.all.append([report.nodeid, report.outcome, report.longreprtext])

    def pytest_collectreport(self, report):
        if report.failed:
            self.all.append([report.nodeid, "failed", report.longreprtext])

os.chdir("/suites")
sys.dont_write_bytecode = True
reports = Reports()
code = pytest.main(
    ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--rootdir=/suites",
     "tests/core/SUITE"],
    plugins=[reports],
)
json.dumps([int(code), reports.all])
"""


def test_there_are_suites() -> None:
    assert len(SUITES) > 5


@pytest.mark.parametrize("suite", SUITES)
def test_suite(pyodide: Any, suite: str) -> None:
    code, reports = json.loads(pyodide.run(_RUN.replace("SUITE", suite)))
    failed = [f"{name}\n{text}" for name, outcome, text in reports if outcome != "passed"]
    assert not failed, "\n\n".join(failed)[-20000:]
    assert code == 0
    assert reports


def test_it_is_the_wheel_that_is_tested(pyodide: Any) -> None:
    place = pyodide.run("import browsermount; browsermount.__file__")
    assert "site-packages" in place
    assert pyodide.run("import sys; sys.platform") == "emscripten"
