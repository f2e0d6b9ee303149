"""Access to blobs by digest, and the place for what was decompressed from them."""
