"""The virtual machines and their guests."""
