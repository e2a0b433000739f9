"""One writer to a folder at a time, also after `kill -9`: the kernel drops the lock with its last holder."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from strop.types import StropError


class FolderLock:
    """Holds a folder until released. Raises StropError that names the process which holds it already."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _take(descriptor, path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others write. In a forked child this drops only the child's copy; the parent keeps the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    # A killed writer's child may hold the inherited descriptor for a moment longer; wait only for that case.
    deadline = time.monotonic() + 5
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            pid = int(text) if text.isdecimal() else None
        if pid is not None and not _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
            continue
        who = "this same process" if pid == os.getpid() else f"process {pid}" if pid else "another process"
        raise StropError(
            f"{path} is being written by {who}. Wait until it ends, stop it, or choose another folder with --out."
        )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
