"""Servers for tests, each an origin of its own: web servers, registries, token servers."""

from tests.servers.files import breaking, served

__all__ = ["breaking", "served"]
