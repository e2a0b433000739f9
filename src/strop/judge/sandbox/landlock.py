"""Landlock: confine this process and its children to reading a list of paths. No privilege needed (Linux 5.13+).

Through raw system calls, because the three of them need less code than a binding, and must be made in a process that
loads as little as possible.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence

from strop.judge.sandbox import kernel

_FS_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("fd", ctypes.c_int32)]


def version() -> int:
    """The kernel's Landlock version, 0 where it is absent or switched off."""
    try:
        return kernel.syscall(kernel.LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def confine(readable: Sequence[str], writable_files: Sequence[str] = (), listable: Sequence[str] = ()) -> None:
    """From now on: read below `readable`, write to `writable_files`, list names below `listable`, nothing else; no TCP,
    no signals to outside.

    Needs no_new_privs. Paths that do not exist are skipped. Raises OSError where Landlock is missing.
    """
    abi = version()
    if abi < 1:
        raise OSError(38, "Landlock is not available in this kernel")
    handled = _FS_ALL.get(abi, (1 << 16) - 1)
    ruleset = _Ruleset(handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rules = kernel.syscall(kernel.LANDLOCK_CREATE, ctypes.byref(ruleset), size, 0)
    try:
        for path in readable:
            _allow(rules, path, _READ_FILE | _READ_DIR)
        for path in writable_files:
            _allow(rules, path, _READ_FILE | _WRITE_FILE)
        for path in listable:
            _allow(rules, path, _READ_DIR)
        kernel.syscall(kernel.LANDLOCK_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= ~_READ_DIR
        kernel.syscall(kernel.LANDLOCK_ADD, rules, 1, ctypes.byref(_PathRule(access, fd)), 0)
    finally:
        os.close(fd)
