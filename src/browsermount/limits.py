"""The bounds on what an image may ask of us: one home for the numbers."""

MAX_LAYERS = 512
"""Layers of an image. Container engines stop at about 128; each costs requests and an index."""

MAX_BLOB_URLS = 8
"""Addresses of a blob (descriptor.md, ``urls``) that are asked: each is a request to any server."""
