"""Which servers are trusted: as the environment says, or else as this machine does."""

from __future__ import annotations

import os
import ssl

import certifi

_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted() -> ssl.SSLContext:
    """Return a context that trusts a file that the environment names, or the usual authorities.

    Raises:
        OSError: The file is not there or holds no certificates.
    """
    for name in _VARIABLES:
        if path := os.environ.get(name):
            try:
                if os.path.isdir(path):
                    return ssl.create_default_context(capath=path)
                return ssl.create_default_context(cafile=path)
            except OSError as error:
                reason = error.strerror or str(error)
                raise OSError(f"{name}: cannot read certificates from {path}: {reason}") from error
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
