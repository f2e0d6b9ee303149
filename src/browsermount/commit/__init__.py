"""An image of what containers have changed: a layer of the changes, and the documents over it.

In the page, these modules are fetched when somebody asks for an image (``pyodide/parts.py``).
"""
