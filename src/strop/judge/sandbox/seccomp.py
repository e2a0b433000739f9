"""Which system calls a program may make: an allow-list, compiled to classic BPF.

Written by hand instead of through libseccomp because the filter is installed once per program, on the hot path, and
the binding needs a system library that many containers lack. The list is turned into a binary search over intervals,
so the kernel walks about eight instructions per call instead of a chain of a hundred; it also builds its bitmap of
always-allowed calls faster.

Three outcomes besides "allow": an ordinary error that Python turns into an exception, ENOSYS where the C library has a
fallback that the filter can read, and death by SIGSYS for calls that no honest program makes, which is a free signal
of tampering.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from strop.judge.sandbox import kernel

ALLOW = 0x7FFF_0000
KILL = 0x8000_0000


def error(code: int) -> int:
    return 0x0005_0000 | code


EPERM, ENOSYS, ENOTTY = error(errno.EPERM), error(errno.ENOSYS), error(errno.ENOTTY)

# name: (x86-64, 64-bit ARM); None where the machine has no such call.
# fmt: off
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, None),
    "pipe": (22, None), "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227),
    "mincore": (27, 232), "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "pause": (34, None),
    "nanosleep": (35, 101), "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172),
    "recvfrom": (45, 207), "shutdown": (48, 210), "socketpair": (53, 199), "setsockopt": (54, 208),
    "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205), "exit": (60, 93),
    "uname": (63, 160), "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "getpgrp": (111, None), "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "getpgid": (121, 155), "getsid": (124, 156), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "getpriority": (140, 141), "gettid": (186, 178),
    "time": (201, None), "futex": (202, 98), "sched_getaffinity": (204, 123), "epoll_create": (213, None),
    "getdents64": (217, 61), "set_tid_address": (218, 96), "fadvise64": (221, 223), "timer_create": (222, 107),
    "timer_settime": (223, 110), "timer_gettime": (224, 108), "timer_getoverrun": (225, 109),
    "timer_delete": (226, 111), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, None), "epoll_ctl": (233, 21),
    "openat": (257, 56), "open": (2, None), "newfstatat": (262, 79), "readlinkat": (267, 78),
    "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99),
    "get_robust_list": (274, 100), "epoll_pwait": (281, 22), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "preadv": (295, 69), "pwritev": (296, 70), "getcpu": (309, 168),
    "getrandom": (318, 278), "statx": (332, 291), "rseq": (334, 293),
    "close_range": (436, 436), "faccessat2": (439, 439), "epoll_pwait2": (441, 441), "futex_waitv": (449, 449),
}
_FATAL: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "bpf": (321, 280),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "acct": (163, 89), "personality": (135, 92),
}
_ABSENT: dict[str, tuple[int | None, int | None]] = {"clone3": (435, 435), "openat2": (437, 437)}
# What programs of other languages need on top: their process is started with execve, has a directory of its own to
# write in, and may signal itself and what it started: its pid namespace holds nothing else.
_EXECUTED: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "arch_prctl": (158, None), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129),
    "tgkill": (234, 131), "tkill": (200, 130), "unlink": (87, None), "unlinkat": (263, 35), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "truncate": (76, 45),
    "ftruncate": (77, 46), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "umask": (95, 166),
    "utimensat": (280, 88), "fsync": (74, 82), "fdatasync": (75, 83), "fallocate": (285, 47), "flock": (73, 32),
    "getdents": (78, None), "creat": (85, None), "chdir": (80, 49), "fchdir": (81, 50), "statfs": (137, 43),
    "fstatfs": (138, 44), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "setpgid": (109, 154),
    "setsid": (112, 157), "sendfile": (40, 71), "copy_file_range": (326, 285), "membarrier": (324, 283),
    "setrlimit": (160, 164), "mlock": (149, 228), "restart_syscall": (219, 128),
}
_FAMILY: dict[str, tuple[int | None, int | None]] = {"fork": (57, None), "vfork": (58, None)}
# fmt: on
_CLONE, _SENDTO, _PRLIMIT, _IOCTL = (56, 220), (44, 206), (302, 261), (16, 29)
_FCNTL, _OPEN, _OPENAT, _SOCKETPAIR = (72, 25), (2, None), (257, 56), (53, 199)
_SENDMSG, _FTRUNCATE = (46, 211), (77, 46)
_MMAP, _PRCTL = (9, 222), (157, 167)
_NEW_NAMESPACES = 0x7E02_0000
"""All CLONE_NEW* bits of clone()."""
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC and the bit that makes O_TMPFILE."""
_CLONE_THREAD = 0x10000
_AUDIT_ARCH = (0xC000_003E, 0xC000_00B7)
_X32_BIT = 0x4000_0000
_LAST = 470
"""Above the highest known number the C library is told that the call does not exist, and falls back."""


def _load(offset: int) -> bytes:
    return struct.pack("<HBBI", 0x20, 0, 0, offset)


def _jump(operation: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("<HBBI", 0x05 | operation, yes, no, value)


def _return(value: int) -> bytes:
    return struct.pack("<HBBI", 0x06, 0, 0, value)


_JEQ, _JGE, _JSET, _JA = 0x10, 0x30, 0x40, 0x00
_AND_0xFF = struct.pack("<HBBI", 0x54, 0, 0, 0xFF)


def build(checker: bool = False, executed: bool = False, family: bool = False) -> bytes:
    """The filter as `struct sock_filter[]` for this machine. Raises OSError on a machine without a table.

    `checker`: for the process that runs checks instead of programs. It passes sockets to its zygote and empties the
    files that programs print to, and has less of the rest: no threads, no opening for writing, no datagrams.
    `executed`: for programs of other languages. `family`: for those that may start processes, and for compilers.
    """
    try:
        column = ("x86_64", "aarch64").index(kernel.MACHINE)
    except ValueError:
        raise OSError(errno.ENOSYS, f"no seccomp table for {kernel.MACHINE}") from None
    args = [16 + 8 * n for n in range(6)]  # offsetof(struct seccomp_data, args[n]), low half on little-endian
    special: dict[int | None, bytes] = {
        # Threads, yes; processes, no.
        _CLONE[column]: _load(args[0]) + _jump(_JSET, _CLONE_THREAD, 0, 1) + _return(ALLOW) + _return(EPERM),
        # send() on a connected pair, never to an address (both halves of the pointer must be null).
        _SENDTO[column]: _load(args[4])
        + _jump(_JEQ, 0, 0, 3)
        + _load(args[4] + 4)
        + _jump(_JEQ, 0, 0, 1)
        + _return(ALLOW)
        + _return(EPERM),
        # Limits of the caller itself; it can only lower them.
        _PRLIMIT[column]: _load(args[0]) + _jump(_JEQ, 0, 0, 1) + _return(ALLOW) + _return(EPERM),
        # FIONBIO, FIONCLEX, FIOCLEX: what non-blocking sockets need.
        _IOCTL[column]: _load(args[1])
        + _jump(_JEQ, 0x5421, 2, 0)
        + _jump(_JEQ, 0x5450, 1, 0)
        + _jump(_JEQ, 0x5451, 0, 1)
        + _return(ALLOW)
        + _return(ENOTTY),
        # Descriptor flags and duplicates only. F_SETOWN with F_SETSIG and O_ASYNC would be a way to send signals.
        _FCNTL[column]: _load(args[1])
        + _jump(_JEQ, 1030, 4, 0)  # F_DUPFD_CLOEXEC
        + _jump(_JGE, 5, 4, 0)
        + _jump(_JEQ, 4, 0, 2)  # F_SETFL
        + _load(args[2])
        + _jump(_JSET, 0x2000, 1, 0)  # O_ASYNC
        + _return(ALLOW)
        + _return(EPERM),
    }
    if checker:
        special |= _checker_calls(column, args)
    if executed:
        special |= _executed_calls(column, args, family)
    leaves: dict[int | None, bytes] = {}
    more = ([_EXECUTED] if executed else []) + ([_FAMILY] if family else [])
    for table, outcome in ((_ALLOWED, ALLOW), *((table, ALLOW) for table in more), (_FATAL, KILL), (_ABSENT, ENOSYS)):
        leaves |= {numbers[column]: _return(outcome) for numbers in table.values() if numbers[column] is not None}
    leaves |= special
    intervals: list[tuple[int, bytes]] = []  # (first number, what happens from there on)
    for number in range(_LAST + 1):
        leaf = leaves.get(number, _return(EPERM)) if number < _LAST else _return(ENOSYS)
        if not intervals or intervals[-1][1] != leaf:
            intervals.append((number, leaf))

    def search(low: int, high: int) -> bytes:
        if high - low == 1:
            return intervals[low][1]
        middle = (low + high) // 2
        left, right = search(low, middle), search(middle, high)
        over = len(left) // 8
        if over < 255:
            return _jump(_JGE, intervals[middle][0], over, 0) + left + right
        return _jump(_JGE, intervals[middle][0], 0, 1) + _jump(_JA, over, 0, 0) + left + right

    head = _load(4) + _jump(_JEQ, _AUDIT_ARCH[column], 1, 0) + _return(KILL) + _load(0)
    if column == 0:
        head += _jump(_JGE, _X32_BIT, 0, 1) + _return(KILL)
    return head + search(0, len(intervals))


def _checker_calls(column: int, args: list[int]) -> dict[int | None, bytes]:
    def read_only(flags: int) -> bytes:
        return _load(flags) + _jump(_JSET, _WRITING, 0, 1) + _return(EPERM) + _return(ALLOW)

    calls: dict[int | None, bytes] = {
        _CLONE[column]: _return(EPERM),
        _SENDMSG[column]: _return(ALLOW),
        _FTRUNCATE[column]: _return(ALLOW),
        _OPENAT[column]: read_only(args[2]),
        # A connected datagram socket could still send to any other by its address.
        _SOCKETPAIR[column]: _load(args[1]) + _AND_0xFF + _jump(_JEQ, 1, 0, 1) + _return(ALLOW) + _return(EPERM),
    }
    return calls | ({_OPEN[column]: read_only(args[1])} if _OPEN[column] is not None else {})


def _executed_calls(column: int, args: list[int], family: bool) -> dict[int | None, bytes]:
    # Names of threads and of memory, and whether others may read its memory. Nothing else.
    options = [3, 4, 15, 16, 0x5356_4D41]
    jumps = [_jump(_JEQ, option, len(options) - 1 - at, 0) for at, option in enumerate(options[:-1])]
    calls: dict[int | None, bytes] = {
        # Memory that is shared and has no file is in no limit but the address space, which big runtimes cannot have.
        _MMAP[column]: _load(args[3])
        + _jump(_JSET, 0x20, 0, 2)
        + _jump(_JSET, 0x01, 0, 1)
        + _return(EPERM)
        + _return(ALLOW),
        _PRCTL[column]: _load(args[0])
        + b"".join(jumps)
        + _jump(_JEQ, options[-1], 0, 1)
        + _return(ALLOW)
        + _return(EPERM),
        # Like a program's, and locks on files of its own.
        _FCNTL[column]: _load(args[1])
        + _jump(_JEQ, 1030, 4, 0)  # F_DUPFD_CLOEXEC
        + _jump(_JGE, 8, 4, 0)  # F_SETLK and F_SETLKW are 6 and 7
        + _jump(_JEQ, 4, 0, 2)  # F_SETFL
        + _load(args[2])
        + _jump(_JSET, 0x2000, 1, 0)  # O_ASYNC
        + _return(ALLOW)
        + _return(EPERM),
    }
    if family:
        calls[_CLONE[column]] = _load(args[0]) + _jump(_JSET, _NEW_NAMESPACES, 0, 1) + _return(EPERM) + _return(ALLOW)
    return calls


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Filter:
    """A built filter, ready to be installed in any number of processes. Needs no_new_privs to be set."""

    def __init__(self, checker: bool = False, executed: bool = False, family: bool = False) -> None:
        code = build(checker, executed, family)
        self._buffer = ctypes.create_string_buffer(code, len(code))
        self._program = _Program(len(code) // 8, ctypes.addressof(self._buffer))
        self._reference = ctypes.byref(self._program)

    def install(self) -> None:
        kernel.syscall(kernel.SECCOMP, 1, 0, self._reference)  # SECCOMP_SET_MODE_FILTER
