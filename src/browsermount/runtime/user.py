"""Who a container's process runs as: an image's ``User`` looked up in its own files.

Follows OCI image specification, config.md, property ``User``, and what Docker
makes of what that leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from browsermount.errors import InvalidProcess

_MAX_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class User:
    """A process's identity: numbers, and the home directory that goes with them."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: frozenset[str]


def resolve_user(text: str, passwd: bytes | None, group: bytes | None) -> User:
    """Look up ``user``, ``uid``, ``user:group``, ``uid:gid`` or a mixture.

    Args:
        text: The image's ``User``; empty for root.
        passwd: The image's /etc/passwd, or None where it has none.
        group: The image's /etc/group, or None where it has none.

    Raises:
        InvalidProcess: A name is not in the files, or a number is out of range.
    """
    user_text, _, group_text = text.partition(":")
    user_text = user_text or "0"
    groups = _groups(group)
    account = _find(_accounts(passwd), user_text)
    if account is None:
        uid = _number(user_text)
        if uid is None:
            raise InvalidProcess(
                f"the image wants to run as {user_text!r}, who is not in its /etc/passwd",
                hint="Set USER to a numeric id in the image, or add the user to /etc/passwd.",
            )
        account = _Account("", uid, 0, "/")
    gid = account.gid
    additional: tuple[int, ...] = ()
    if group_text:
        found = _find_group(groups, group_text)
        number = _number(group_text) if found is None else found.gid
        if number is None:
            raise InvalidProcess(
                f"the image wants the group {group_text!r}, which is not in its /etc/group",
                hint="Set USER to numeric ids in the image, or add the group to /etc/group.",
            )
        gid = number
    elif account.name:
        additional = tuple(g.gid for g in groups if account.name in g.members)
    for number in (account.uid, gid):
        if number > _MAX_ID:
            raise InvalidProcess(
                f"the image's /etc/passwd or /etc/group gives {text[:30]!r} an id larger than "
                f"{_MAX_ID}",
                hint="Set USER to numeric ids in the image.",
            )
    additional = tuple(number for number in additional if number <= _MAX_ID)
    return User(account.uid, gid, additional, account.home or "/")


def _number(text: str) -> int | None:
    value = _digits(text)
    if value is None:
        return None
    if value > _MAX_ID:
        raise InvalidProcess(f"the user or group id {text[:30]} is larger than {_MAX_ID}")
    return value


def _digits(text: str) -> int | None:
    """Read a number; one of very many digits is only known to be too large."""
    return int(text[:11]) if text.isascii() and text.isdigit() else None


def _records(data: bytes | None, least: int) -> list[list[str]]:
    """Split a file of colon-separated lines; lines with too few fields are passed over."""
    lines = (data or b"").decode("utf-8", "surrogateescape").split("\n")
    records = (line.strip().split(":") for line in lines)
    return [fields for fields in records if len(fields) >= least and not fields[0].startswith("#")]


def _accounts(passwd: bytes | None) -> list[_Account]:
    accounts = []
    for fields in _records(passwd, 4):
        name, _, uid, gid, *rest = fields
        uid_number, gid_number = _digits(uid), _digits(gid)
        if uid_number is not None and gid_number is not None:
            home = rest[1] if len(rest) > 1 else ""
            accounts.append(_Account(name, uid_number, gid_number, home))
    return accounts


def _groups(group: bytes | None) -> list[_Group]:
    groups = []
    for fields in _records(group, 3):
        name, _, gid, *rest = fields
        if (number := _digits(gid)) is not None:
            members = frozenset(filter(None, rest[0].split(","))) if rest else frozenset()
            groups.append(_Group(name, number, members))
    return groups


# A name goes before a number: a user may well be called 1000.


def _find(accounts: Sequence[_Account], text: str) -> _Account | None:
    by_name = next((account for account in accounts if account.name == text), None)
    if by_name is not None or (number := _digits(text)) is None:
        return by_name
    return next((account for account in accounts if account.uid == number), None)


def _find_group(groups: Sequence[_Group], text: str) -> _Group | None:
    by_name = next((group for group in groups if group.name == text), None)
    if by_name is not None or (number := _digits(text)) is None:
        return by_name
    return next((group for group in groups if group.gid == number), None)
