"""How a container is started: the OCI runtime specification's config.json.

https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
"""
