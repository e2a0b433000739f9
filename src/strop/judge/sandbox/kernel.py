"""The few Linux calls that Python 3.11 does not offer, through ctypes. Numbers for x86-64 and 64-bit ARM."""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine

# System calls without a wrapper in every C library; the two machines share all numbers since Linux 5.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(MACHINE)
_CAPSET = {"x86_64": 126, "aarch64": 91}.get(MACHINE)
SECCOMP = {"x86_64": 317, "aarch64": 277}.get(MACHINE)
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
_MOUNT_SETATTR = 442

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x400, 0x800, 0x1000, 0x4000, 0x40000
MS_RELATIME = 0x20_0000
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 4, 38, 24


def syscall(number: int | None, *args) -> int:
    """Raw system call. Raises OSError with the kernel's reason."""
    if number is None:
        raise OSError(errno.ENOSYS, f"system call not known for {MACHINE}")
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if type(a) is int else a for a in args))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def prctl(option: int, value: int = 0) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl({option})")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _checked(result, f"mount {source} on {target}")


def umount(target: str) -> None:
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    syscall(_PIVOT_ROOT, os.fsencode(new), os.fsencode(old))


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def make_read_only(base: str, mounts: list[str]) -> None:
    """The mount at `base` and the `mounts` below it: read-only, and no set-uid."""
    attr = _MountAttr(attr_set=MS_RDONLY | MS_NOSUID)  # same bits as MOUNT_ATTR_*
    try:
        syscall(_MOUNT_SETATTR, -100, os.fsencode(base), 0x8000, ctypes.byref(attr), ctypes.sizeof(attr))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        # Before Linux 5.12, one by one. A mount made outside keeps its locked flags, so they are given again.
        for path in [*mounts, base]:
            info = os.statvfs(path).f_flag
            kept = info & (MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME)
            mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


_CAP_HEADER = _CapHeader(0x2008_0522, 0)
_NO_CAPS = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Give up every capability of this thread (with no_new_privs, for good)."""
    syscall(_CAPSET, ctypes.byref(_CAP_HEADER), ctypes.byref(_NO_CAPS))
