// Usage: node compile_stdlib.mjs PYODIDE_DIR OUT.zip
//
// Writes Pyodide's standard library with .pyc files in the place of .py files:
// a start without memory snapshot spends most of its time compiling them. Only
// Pyodide itself is sure to be the Python version that the bytecode is for.

import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadPyodide } from "pyodide";

const [source, output] = process.argv.slice(2);
const python = await loadPyodide({ indexURL: resolve(source), stdLibURL: undefined });
python.FS.writeFile("/tmp/source.zip", await readFile(join(source, "python_stdlib.zip")));
python.runPython(`
import importlib._bootstrap_external as bootstrap
import importlib.util
import sys
import zipfile

home = f"/lib/python{sys.version_info.major}{sys.version_info.minor}.zip"
with zipfile.ZipFile("/tmp/source.zip") as source, zipfile.ZipFile("/tmp/out.zip", "w") as out:
    for name in source.namelist():
        data = source.read(name)
        if name.endswith(".py"):
            code = compile(data, f"{home}/{name}", "exec", dont_inherit=True, optimize=0)
            # Never checked against a source, which is not there.
            data = bootstrap._code_to_hash_pyc(code, importlib.util.source_hash(data), False)
            name += "c"
        # ZipInfo's fixed default date: the same input gives the same archive.
        out.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)
`);
await writeFile(output, python.FS.readFile("/tmp/out.zip"));
