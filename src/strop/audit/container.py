"""The box in which exploits run: own namespaces, nothing writable but private memory, no network, no capabilities.

`command` builds the command line that starts a program in a fresh box; `enter` is what that program calls first; and
`problems` looks around from inside and names everything that is not as it should be. Nothing hostile may run before
`problems` came back empty.

Covered: files (every mount read-only; /tmp, /dev/shm and HOME are private memory; site-packages is a private copy on
write, so that poisoning it is seen and harmless), devices (a handful of harmless ones), processes (own pid namespace;
all of it dies with its first process), network (loopback only), System V IPC, capabilities, address space, and, where
control groups may be written, memory and the number of processes. Not covered: bugs of the kernel, which is shared.
For graders that run elsewhere (a remote endpoint) nothing here holds.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import site
import socket
import struct
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strop.types import StropError

ADDRESS_SPACE = 8 << 30
"""Bytes for one process. Exploits of the suites stay below 2.5 GB."""
MEMORY = 5 << 30
"""Bytes for the whole box, where control groups allow it."""
PROCESSES = 400
"""Processes and threads in the box, where control groups allow it. Exploits start at most 40."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_NODIRATIME, MS_RELATIME = 1, 2, 4, 8, 1024, 2048, 1 << 21
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 32, 4096, 8192, 16384
# Flags that a mount brought from outside keeps: the kernel refuses to lift them in a user namespace.
LOCKED = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38

# Not uid 0 inside: the kernel refuses to map an outer root into the namespaces that a grader makes for itself.
IDENTITY = ("--user", "--map-user=1000", "--map-group=1000", "--keep-caps")
UNSHARE = ("unshare", *IDENTITY, "--pid", "--net", "--ipc", "--uts", "--mount", "--fork")

libc = ctypes.CDLL(None, use_errno=True)


# ---- outside -------------------------------------------------------------------------------------


def command(inside: list[str], cgroups: list[Path]) -> list[str]:
    """The command line that runs `inside` as the first process of a fresh box.

    Raises StropError where user namespaces are not allowed.
    """
    box = [*UNSHARE, "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*box, "true"], capture_output=True).returncode != 0:
        raise StropError(
            "This machine allows no user namespaces, so exploits cannot be contained here. Run the audit inside a "
            "container whose file system is read-only but for /tmp and /dev/shm and which has no network, and add "
            "--contained."
        )
    join = "".join(f"echo $$ > {path}/cgroup.procs && " for path in cgroups)
    return ["sh", "-c", join + 'exec "$@"', "sh", *box, *inside]


@contextmanager
def control_groups() -> Iterator[list[Path]]:
    """Fresh control groups with a memory and a process limit, or an empty list where they may not be made."""
    made: list[Path] = []
    name = f"strop-audit-{os.getpid()}-{os.urandom(4).hex()}"
    root = Path("/sys/fs/cgroup")
    try:
        if (root / "cgroup.controllers").exists():
            _make_group(root / name, {"memory.max": MEMORY, "pids.max": PROCESSES}, made)
        else:
            _make_group(root / "memory" / name, {"memory.limit_in_bytes": MEMORY}, made)
            _make_group(root / "pids" / name, {"pids.max": PROCESSES}, made)
    except OSError:
        _remove_groups(made)
    try:
        yield made
    finally:
        _remove_groups(made)


def _make_group(path: Path, limits: dict[str, int], made: list[Path]) -> None:
    path.mkdir()
    made.append(path)
    for name, value in limits.items():
        (path / name).write_text(str(value))


def _remove_groups(made: list[Path]) -> None:
    for path in made:
        for _ in range(50):
            try:
                path.rmdir()
                break
            except OSError:
                time.sleep(0.1)  # its last process is still being reaped
    made.clear()


# ---- inside --------------------------------------------------------------------------------------


def enter(keep: list[str]) -> list[str]:
    """Turn fresh namespaces into the box. Returns what could not be had but is not needed for safety.

    `keep`: folders that must stay readable although they lie below /tmp, which becomes private memory.
    """
    missing = []
    kept = [(folder, os.open(folder, os.O_PATH)) for folder in keep if folder.startswith("/tmp/")]
    mounts = sorted(_mounts(), reverse=True)
    for target, options in mounts:
        if target != "/proc":  # nested sandboxes must write their uid maps there; its dangerous parts follow
            _read_only(target, options)
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"):
        if os.path.exists(f"/proc/{name}"):
            _mount(f"/proc/{name}", f"/proc/{name}", flags=MS_BIND)
            _read_only(f"/proc/{name}", set())
    _mount("tmpfs", "/tmp", "tmpfs", data="size=1g,mode=1777")
    for folder, handle in kept:
        os.makedirs(folder, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", folder, flags=MS_BIND)
        _read_only(folder, set())
        os.close(handle)
    _own_devices()
    if os.path.isdir("/run"):
        _mount("tmpfs", "/run", "tmpfs", flags=MS_RDONLY)  # sockets of the host's services
    try:
        _copy_on_write(sysconfig.get_path("purelib"))
    except OSError as error:
        missing.append(f"a private copy of site-packages ({error.strerror}): poisoning it cannot be seen")
    try:
        _loopback_up()
    except OSError as error:
        missing.append(f"a loopback interface ({error.strerror})")
    os.makedirs("/tmp/home")
    os.environ["HOME"] = "/tmp/home"
    os.chdir("/tmp")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _drop_capabilities()
    return missing


def problems(host_home: str, host_cwd: str, alone: bool = True) -> list[str]:
    """What is wrong with this box; empty when exploits may run.

    `host_home` and `host_cwd` are the user's own. `alone`: a pid namespace of its own is expected, with nobody else in.
    """
    found = []
    places = {sysconfig.get_path("stdlib"), host_home, host_cwd, os.path.dirname(__file__), "/", "/etc", "/var/tmp"}
    overlays = {target for target, options in _mounts() if "strop-overlay" in options}
    for folder in (sysconfig.get_path("purelib"), *site.getsitepackages(), site.getusersitepackages()):
        if folder not in overlays:
            places.add(folder)
    places -= {"/tmp", "/tmp/home"}  # the user's own, when they work there: hidden by now
    found += [f"{folder} is writable" for folder in sorted(places) if _writable(folder)]
    allowed = ("/tmp", "/dev", "/proc", *overlays)
    for target, options in _mounts():
        if "rw" in options and not any(target == top or target.startswith(top + "/") for top in allowed):
            found.append(f"{target} is mounted writable")
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        found.append(f"network interfaces: {', '.join(others)}")
    status = Path("/proc/self/status").read_text()
    if any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("CapEff", "CapPrm"))):
        found.append("this process has capabilities")
    strangers = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (os.getpid(), 1)]
    if alone and (os.getpid() != 1 or strangers):
        found.append("other processes can be seen")
    return found


def _writable(folder: str) -> bool:
    try:
        descriptor, path = tempfile.mkstemp(dir=folder, prefix=".strop-probe")
    except OSError:
        return False
    os.close(descriptor)
    os.unlink(path)
    return True


def _mounts() -> list[tuple[str, set[str]]]:
    """`(mount point, options)`; an overlay of ours carries the option `strop-overlay`."""
    rows = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        target = left.split()[4].encode().decode("unicode_escape").encode("latin1").decode()
        options = set(left.split()[5].split(","))
        if right.startswith("overlay ") and "upperdir=/tmp/.overlay/" in right:
            options.add("strop-overlay")
        rows.append((target, options))
    return rows


def _mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    arguments = (source.encode(), target.encode(), kind and kind.encode(), flags, data and data.encode())
    if libc.mount(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _read_only(target: str, options: set[str]) -> None:
    flags = MS_REMOUNT | MS_BIND | MS_RDONLY
    for name in options & LOCKED.keys():
        flags |= LOCKED[name]
    try:
        _mount("none", target, flags=flags)
    except OSError:
        # A mount hidden below another, or already gone; `problems` looks at what is left.
        pass


def _own_devices() -> None:
    _mount("tmpfs", "/tmp", "tmpfs", data="size=1m,mode=755")  # on top for a moment; moved to /dev below
    for name in ("null", "zero", "full", "random", "urandom"):
        Path(f"/tmp/{name}").touch()
        _mount(f"/dev/{name}", f"/tmp/{name}", flags=MS_BIND)
    os.mkdir("/tmp/shm")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/tmp/{name}")
    os.symlink("/proc/self/fd", "/tmp/fd")
    _mount("/tmp", "/dev", flags=MS_MOVE)
    _mount("tmpfs", "/dev/shm", "tmpfs", data="size=512m,mode=1777")
    _read_only("/dev", set())


def _copy_on_write(folder: str) -> None:
    os.makedirs("/tmp/.overlay/upper")
    os.makedirs("/tmp/.overlay/work")
    data = f"lowerdir={folder},upperdir=/tmp/.overlay/upper,workdir=/tmp/.overlay/work,userxattr"
    _mount("overlay", folder, "overlay", data=data)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(some, 0x8914, request)  # SIOCSIFFLAGS


def _drop_capabilities() -> None:
    for number in range(64):
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody traces the watcher or writes to its descriptors
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    if libc.capset(header, bytes(24)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")
