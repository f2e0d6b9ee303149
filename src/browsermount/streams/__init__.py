"""Layers' decompressed streams: opened once, then read as the guest asks for them."""
