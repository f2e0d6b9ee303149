"""Builds the page's TLS server."""
