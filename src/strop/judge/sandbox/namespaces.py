"""Namespaces of a zygote: own users, mounts, network, IPC and host name, and a read-only root with little in it.

Entered once per zygote: the network namespace alone costs a millisecond. Only the pid namespace is made anew for every
program. The root holds the standard library, the shared libraries and the packages that were asked for, at the paths
they have outside; no /proc, no home, no task files, and nothing that can be written.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from strop.judge.sandbox import kernel

_SHARED = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_MOUNT_POINTS = ("/tmp", "/var/tmp", "/dev/shm", "/mnt", "/run", "/srv", "/opt", "/proc")


def enter(
    level: str, readable: list[str], hidden: list[str], slot: int, furnish: Callable[[str], None] | None = None
) -> None:
    """Enter the namespaces of `level` ("userns" or "root"). Raises OSError when the system forbids it.

    readable: files and directories that programs may read. hidden: directories below them that stay empty.
    slot: number of the unprivileged user (60000 + slot) that a root caller becomes.
    furnish: puts more into the root directory that it is given, before that becomes read-only.
    """
    if os.geteuid() == 0:
        # The root file system is built while we may still read everything: the interpreter may live below /root.
        kernel.unshare(_SHARED)
        build_root(readable, hidden, furnish)
        if level == "userns":
            user = 60000 + slot
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else /proc/self/uid_map would belong to root
            _new_user(user, user, _proc_fd())
    else:
        if level == "root":
            raise OSError(1, "needs root")
        proc = _proc_fd()
        _new_user(os.geteuid(), os.getegid(), proc, _SHARED)
        build_root(readable, hidden, furnish)


_proc: int | None = None


def keep_proc() -> None:
    """Hold /proc/self open: the root that is built has no /proc, and the user map is written afterwards."""
    global _proc
    _proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def drop_proc() -> None:
    global _proc
    if _proc is not None:
        os.close(_proc)
        _proc = None


def _proc_fd() -> int:
    if _proc is None:
        raise RuntimeError("keep_proc() comes first")
    return _proc


def _new_user(uid: int, gid: int, proc: int, flags: int = 0) -> None:
    kernel.unshare(kernel.CLONE_NEWUSER | flags)
    for name, text in (("uid_map", f"{uid} {uid} 1"), ("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1")):
        fd = os.open(name, os.O_WRONLY, dir_fd=proc)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def build_root(readable: list[str], hidden: list[str], furnish: Callable[[str], None] | None = None) -> None:
    """Make a read-only root with `readable` in it and move there."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    needed = [*readable, *_DEVICES, os.getcwd()]
    base = next(
        (p for p in _MOUNT_POINTS if os.path.isdir(p) and not any(n == p or n.startswith(p + "/") for n in needed)),
        None,
    )
    if base is None:
        raise OSError(2, "no directory to build the program's root in")
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID, "size=1m,mode=755")
    mounts = [_bind(path, base) for path in _DEVICES if os.path.exists(path)]
    present = sorted(path for path in set(readable) if os.path.exists(path))
    mounts += [_bind(path, base) for path in present if not _below(path, readable)]
    for path in hidden:
        if os.path.isdir(base + path):
            kernel.mount("tmpfs", base + path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64k,mode=755")
            mounts.append(base + path)
    # A package that was asked for may live below a directory that was just hidden.
    mounts += [_bind(path, base) for path in present if _below(path, hidden)]
    os.makedirs(base + "/tmp", exist_ok=True)
    if furnish is not None:
        furnish(base)
    kernel.make_read_only(base, mounts)
    os.chdir(base)
    kernel.pivot_root(".", ".")
    kernel.umount(".")
    os.chdir("/")


def _below(path: str, others: list[str]) -> bool:
    return any(path.startswith(other + "/") for other in others)


def _bind(path: str, base: str) -> str:
    target = base + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)
    return target
