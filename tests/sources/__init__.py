"""Images from real registries and web servers."""
