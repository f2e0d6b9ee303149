"""The runtime spec of an image, with the defaults that Docker has.

OCI image specification, conversion.md, says what of the image's config goes where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from browsermount.errors import InvalidProcess
from browsermount.network.addresses import GATEWAY, GUEST, to_text
from browsermount.oci.config import ImageConfig
from browsermount.runtime.user import User

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_TERM = "TERM=xterm-256color"

_CAPABILITIES = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
]


class Host(Enum):
    """Whose machine starts the container."""

    OURS = auto()
    CONTAINER2WASM = auto()
    """Its runc has the root file system at a place of its own and shares the machine's network and
    files in /etc; what is run, its init takes from the image's config."""


_CONTAINER2WASM_ROOT = "/run/rootfs"


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """What the person wants otherwise than the image's config says; None leaves it as it is.

    Attributes:
        entrypoint: Replaces the image's entrypoint, and with it drops the image's cmd.
        args: Replaces the image's cmd.
        env: ``NAME=value`` strings that are added to the image's.
        user: As in the image's ``User``.
        working_dir: Where the process starts.
        terminal: Whether the process gets a terminal.
        hostname: The container's host name.
        network: Whether there is one beside the loopback interface.
        hosts: Further names for /etc/hosts, each with its address.
        host: Whose machine starts it.
    """

    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str | None = None
    working_dir: str | None = None
    terminal: bool = True
    hostname: str = "browsermount"
    network: bool = False
    hosts: tuple[tuple[str, str], ...] = ()
    host: Host = Host.OURS


def process_args(config: ImageConfig, options: ProcessOptions) -> tuple[str, ...]:
    """Return what is to be run.

    Raises:
        InvalidProcess: Neither the image nor the options say it.
    """
    entrypoint, cmd = config.entrypoint, config.cmd
    if options.entrypoint is not None:
        entrypoint, cmd = options.entrypoint, ()
    if options.args is not None:
        cmd = options.args
    if not (args := entrypoint + cmd):
        raise InvalidProcess(
            "the image does not say what to run: it has neither an entrypoint nor a cmd",
            hint="Name a program behind the image (browsermount run IMAGE sh), or set CMD or "
            "ENTRYPOINT in the image.",
        )
    return args


def environment(
    config: ImageConfig, options: ProcessOptions, home: str, defaults: Sequence[str] = ()
) -> list[str]:
    """Return the process's environment: the image's, the person's, and what shells rely on.

    Args:
        config: The image's.
        options: The person's.
        home: The user's directory.
        defaults: Further variables, as ``NAME=value``, for where neither has them.
    """
    values = [DEFAULT_PATH, f"HOSTNAME={options.hostname}"]
    if options.terminal:
        values.append(DEFAULT_TERM)
    merged: dict[str, str] = {}
    for value in (*values, *defaults, *config.env, *options.env):
        name, equals, _ = value.partition("=")
        if equals:
            merged[name] = value
    merged.setdefault("HOME", f"HOME={home}")
    return list(merged.values())


def runtime_spec(
    config: ImageConfig, options: ProcessOptions, user: User, defaults: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the config.json of a container; see :func:`environment` for ``defaults``.

    Raises:
        InvalidProcess: The image does not say what to run.
    """
    if options.host is Host.CONTAINER2WASM:
        return _for_container2wasm(config, options, user)
    return _for_ours(config, process_args(config, options), options, user, defaults)


def _for_container2wasm(config: ImageConfig, options: ProcessOptions, user: User) -> dict[str, Any]:
    spec = _for_ours(config, config.entrypoint + config.cmd, options, user)
    spec["root"]["path"] = _CONTAINER2WASM_ROOT
    # What is mounted from beside config.json is not there. The kernel has what its runc needs.
    own = {"bind", "cgroup2"}
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] not in own]
    shared = {"network", "cgroup"}
    spaces = spec["linux"]["namespaces"]
    spec["linux"]["namespaces"] = [space for space in spaces if space["type"] not in shared]
    # They are the network namespace's.
    del spec["linux"]["sysctl"]
    return spec


def _for_ours(
    config: ImageConfig,
    args: tuple[str, ...],
    options: ProcessOptions,
    user: User,
    defaults: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": options.terminal,
            "user": {
                "uid": user.uid,
                "gid": user.gid,
                # The primary group is among them, as from Docker: what is denied to a group must
                # not be open to who has left it (CVE-2022-36109).
                "additionalGids": list(dict.fromkeys((user.gid, *user.additional_gids))),
            },
            "args": list(args),
            "env": environment(config, options, user.home, defaults),
            "cwd": _absolute(options.working_dir or config.working_dir),
            "capabilities": _capabilities(user),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1024}],
            "noNewPrivileges": False,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": options.hostname,
        "mounts": _mounts(),
        "linux": {
            # As from Docker: who is not root may listen at any port, and ping.
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "namespaces": [
                {"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup", "network")
            ],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/sys/devices/virtual/powercap",
                "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _capabilities(user: User) -> dict[str, list[str]]:
    # Who is not root gets them into the bounding set alone, as from Docker.
    held = _CAPABILITIES if user.uid == 0 else []
    return {"bounding": _CAPABILITIES, "effective": held, "permitted": held}


def _mounts() -> list[dict[str, Any]]:
    def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
        return {
            "destination": destination,
            "type": kind,
            "source": source,
            "options": list(options),
        }

    return [
        mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup2", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        mount("/etc/resolv.conf", "bind", "resolv.conf", "rbind", "rprivate"),
        mount("/etc/hostname", "bind", "hostname", "rbind", "rprivate"),
        mount("/etc/hosts", "bind", "hosts", "rbind", "rprivate"),
    ]


def etc_files(options: ProcessOptions) -> dict[str, bytes]:
    """Return the files beside config.json that the spec binds into the container's /etc."""
    own = to_text(GUEST) if options.network else "127.0.1.1"
    hosts = [
        ("localhost", "127.0.0.1"),
        ("localhost ip6-localhost ip6-loopback", "::1"),
        *options.hosts,
        (options.hostname, own),
    ]
    resolver = f"nameserver {to_text(GATEWAY)}" if options.network else "# There is no network."
    return {
        "hostname": f"{options.hostname}\n".encode(),
        "hosts": "".join(f"{address}\t{name}\n" for name, address in hosts).encode(),
        "resolv.conf": f"{resolver}\n".encode(),
    }
