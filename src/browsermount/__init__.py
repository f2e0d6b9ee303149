"""Runs unmodified container images inside a web page.

The package fetches an OCI image's blobs, holds the merged root file system as
a tree whose contents are read when they are asked for, and answers 9P2000.L
requests over it.  The same code runs in Pyodide and in CPython.
"""

__version__ = "0.1.0"
