"""The merged tree: inodes, and how layers change it."""
