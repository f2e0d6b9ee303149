"""What the wheel has of the program that runs the machine in Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hatch_build import runner_files

VM = Path(__file__).resolve().parents[2] / "web" / "vm"


def test_the_runner_has_all_that_it_imports(tmp_path: Path) -> None:
    names = runner_files(VM)
    assert {"runner.mjs", "machine.js", "v86.js"} <= names
    for name in names:
        shutil.copyfile(VM / name, tmp_path / name)
    # It ends where it is told nothing, but not before it was loaded.
    program = "import(process.argv[1]).catch((error) => { console.log(error.code); })"
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program, str(tmp_path / "runner.mjs")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ERR_MODULE_NOT_FOUND" not in done.stdout + done.stderr
    # And that is what it would say.
    (tmp_path / "control.js").unlink()
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program, str(tmp_path / "runner.mjs")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ERR_MODULE_NOT_FOUND" in done.stdout
