"""Layers: compressed archives in, entries out.

A layer's decompressed stream is addressed by byte offsets; an entry says which
parts of that stream are its content, so that nothing is copied out of it.
"""
