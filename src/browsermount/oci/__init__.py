"""OCI documents and how to reach them.

Formats follow the OCI image specification 1.1:
https://github.com/opencontainers/image-spec/tree/v1.1.0
"""
