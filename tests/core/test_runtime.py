import pytest

from browsermount.errors import InvalidProcess
from browsermount.oci.config import ImageConfig
from browsermount.runtime.spec import Host, ProcessOptions, etc_files, runtime_spec
from browsermount.runtime.user import User, resolve_user

PASSWD = b"""root:x:0:0:root:/root:/bin/bash
# comment:x:1:1::/:
broken
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www:x:33:34:www:/var/www:/bin/sh
1000:x:55:56::/home/number:
nohome:x:60:60
"""
GROUP = b"root:x:0:\nadm:x:4:www,daemon\nwww:x:34:\nextra:x:70:www\nbad:x:y:www\n"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (), "/root")),
        ("root", User(0, 0, (), "/root")),
        ("www", User(33, 34, (4, 70), "/var/www")),
        ("33", User(33, 34, (4, 70), "/var/www")),
        ("www:adm", User(33, 4, (), "/var/www")),
        ("www:12", User(33, 12, (), "/var/www")),
        ("4321", User(4321, 0, (), "/")),
        ("4321:4322", User(4321, 4322, (), "/")),
        ("4321:adm", User(4321, 4, (), "/")),
        ("1000", User(55, 56, (), "/home/number")),
        ("nohome", User(60, 60, (), "/")),
        (":adm", User(0, 4, (), "/root")),
    ],
)
def test_user(text: str, user: User) -> None:
    assert resolve_user(text, PASSWD, GROUP) == user


@pytest.mark.parametrize("text", ["nobody", "www:nobody", "-1", "99999999999", "0:99999999999"])
def test_unknown_user(text: str) -> None:
    with pytest.raises(InvalidProcess):
        resolve_user(text, PASSWD, GROUP)


def test_user_without_files() -> None:
    assert resolve_user("", None, None) == User(0, 0, (), "/")
    assert resolve_user("5:6", None, None) == User(5, 6, (), "/")
    with pytest.raises(InvalidProcess, match="passwd") as caught:
        resolve_user("www", None, None)
    assert caught.value.hint
    with pytest.raises(InvalidProcess, match="group"):
        resolve_user("5:www", None, None)


def process(config: ImageConfig, user: User | None = None, **options: object) -> dict[str, object]:
    given = ProcessOptions(**options)  # type: ignore[arg-type]
    spec = runtime_spec(config, given, user or User())["process"]
    assert isinstance(spec, dict)
    return spec


def test_args() -> None:
    config = ImageConfig(entrypoint=("/init",), cmd=("a", "b"))
    assert process(config)["args"] == ["/init", "a", "b"]
    assert process(config, args=("c",))["args"] == ["/init", "c"]
    assert process(config, entrypoint=("sh",))["args"] == ["sh"]
    assert process(config, entrypoint=("sh",), args=("-c",))["args"] == ["sh", "-c"]
    with pytest.raises(InvalidProcess, match="what to run"):
        process(ImageConfig())


def test_environment() -> None:
    config = ImageConfig(cmd=("sh",), env=("PATH=/bin", "A=1", "BAD", "EMPTY="))
    env = process(config, User(home="/root"), env=("A=2",), hostname="box")["env"]
    assert env == [
        "PATH=/bin",
        "HOSTNAME=box",
        "TERM=xterm-256color",
        "A=2",
        "EMPTY=",
        "HOME=/root",
    ]
    env = process(ImageConfig(cmd=("sh",), env=("HOME=/x",)), terminal=False)["env"]
    assert isinstance(env, list)
    assert "HOME=/x" in env
    assert not any(value.startswith("TERM=") for value in env)


def test_working_directory() -> None:
    assert process(ImageConfig(cmd=("sh",)))["cwd"] == "/"
    assert process(ImageConfig(cmd=("sh",), working_dir="srv"))["cwd"] == "/srv"
    assert process(ImageConfig(cmd=("sh",), working_dir="/a"), working_dir="/b")["cwd"] == "/b"


def test_capabilities() -> None:
    root = process(ImageConfig(cmd=("sh",)))["capabilities"]
    other = process(ImageConfig(cmd=("sh",)), User(1000, 1000))["capabilities"]
    assert isinstance(root, dict)
    assert isinstance(other, dict)
    assert "CAP_CHOWN" in root["effective"]
    assert "CAP_SYS_ADMIN" not in root["bounding"]
    assert other["effective"] == []
    assert other["bounding"] == root["bounding"]


def test_groups() -> None:
    def groups(user: User) -> object:
        found = process(ImageConfig(cmd=("sh",)), user)["user"]
        assert isinstance(found, dict)
        return found["additionalGids"]

    assert groups(User()) == [0]
    assert groups(User(1000, 100)) == [100]
    assert groups(User(1000, 100, (7, 100, 8))) == [100, 7, 8]


def test_ports_and_ping_are_for_everyone() -> None:
    spec = runtime_spec(ImageConfig(cmd=("sh",)), ProcessOptions(), User())
    assert spec["linux"]["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }


def test_files_that_the_spec_binds_are_there() -> None:
    options = ProcessOptions(hostname="box")
    spec = runtime_spec(ImageConfig(cmd=("sh",)), options, User())
    bound = {m["source"] for m in spec["mounts"] if m["type"] == "bind"}
    assert bound == set(etc_files(options))
    assert b"box" in etc_files(options)["hosts"]


def test_what_container2wasms_init_takes_from_a_bundle() -> None:
    config = ImageConfig(env=("A=b",), working_dir="/srv", user="www")
    user = User(33, 34, (4,), "/var/www")
    spec = runtime_spec(config, ProcessOptions(host=Host.CONTAINER2WASM), user)
    # It puts the program there itself; an image without one is none of our business.
    assert spec["process"]["args"] == []
    assert spec["process"]["user"]["uid"] == 33
    assert spec["process"]["cwd"] == "/srv"
    assert spec["root"]["path"] == "/run/rootfs"
    # In its bundle are no files beside config.json, and runc has the machine's own network.
    assert {mount["type"] for mount in spec["mounts"]} == {
        *("proc", "tmpfs", "devpts", "sysfs", "mqueue")
    }
    assert {"type": "network"} not in spec["linux"]["namespaces"]
    assert not any(name.startswith("net.") for name in spec["linux"].get("sysctl", {}))
