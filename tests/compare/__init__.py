"""One file tree, read in several ways, must be the same each time."""
