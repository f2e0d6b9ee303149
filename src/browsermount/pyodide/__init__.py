"""The edges of the package inside Pyodide: the only modules that import ``js``.

They import the module and look names up in it when they need them, so that a
memory snapshot of the interpreter holds no object of the JavaScript world in
which it was taken.
"""
