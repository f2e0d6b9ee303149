"""What the 64-bit machine takes of the browser's memory to resume."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.build_site import emulator, machine_snapshot

SCRIPT = """
import { readFile } from "node:fs/promises";
const [code, file, state] = process.argv.slice(1);
const { x64 } = await import(code);
const bytes = async (path) => new Uint8Array(await readFile(path)).buffer;
const events = { output() {}, log() {}, frame() {}, halted() {} };
const machine = await x64(await bytes(file)).create({ memoryMiB: 2048, events });
await machine.restore({ state: await bytes(state) });
console.log(machine.memory().length, machine.memory().buffer.byteLength);
process.exit();
"""
ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def test_it_has_no_more_memory_than_it_starts_with() -> None:
    # Else V8 collects garbage more often, as long as the tab lives.
    state = machine_snapshot("x64") / "snapshot.zst"
    command = ["node", "--input-type=module", "-e", SCRIPT]
    command += [(ROOT / "web" / "vm" / "x64.js").as_uri(), str(emulator("x64")), str(state)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    ram, whole = map(int, done.stdout.split())
    assert ram == 512 * MIB
    assert whole < 600 * MIB
