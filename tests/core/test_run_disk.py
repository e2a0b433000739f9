"""Full disks, file-size limits and folders that may not be written: one paragraph, and nothing lost."""

import os
import pickle
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from run_nouns import CONFIG, sample

from strop.run import Run
from strop.types import Spent, StropError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system or change user")


def in_child(action):
    """Run `action` in a forked process; returns its value, or the StropError it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = action()
        except BaseException as error:
            answer = error
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(pid, 0)
    if isinstance(answer, BaseException) and not isinstance(answer, StropError):
        raise answer
    return answer


def fill(path, size=20_000, items=400):
    """Save until the disk refuses; returns how many items were saved, and the words of the refusal."""
    saved = 0
    try:
        with Run.open(path, command="eval", config=CONFIG) as run:
            start = run.spent().programs
            for i in range(start, items):
                with run.atomic():
                    run.save_samples("s", [sample(index=i, text=os.urandom(size // 2).hex())])
                    run.charge("s", str(i), Spent(programs=1))
                saved = i + 1
    except StropError as error:
        return saved, str(error)
    return saved, ""


def check_kept(path, saved):
    with Run.read(path) as run:
        assert len(run.samples("s")) == run.spent().programs == saved


@needs_root
def test_a_full_disk_keeps_what_was_saved_and_goes_on_after_space_is_freed(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 1_000_000)
        saved, words = fill(disk / "run")
        assert 5 < saved < 60
        assert "the disk is full; what was finished before is kept" in words
        assert "\n" not in words
        check_kept(disk / "run", saved)
        ballast.unlink()
        more, words = fill(disk / "run")
        assert saved < more
        check_kept(disk / "run", more)

        with pytest.raises(OSError, match="No space"):
            (disk / "rest").write_bytes(b"x" * 4_000_000)
        refused = in_child(lambda: Run.open(disk / "other", command="eval", config=CONFIG))
        assert isinstance(refused, StropError)
        assert str(disk / "other") in str(refused)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_size_limit_is_a_clear_error_too(tmp_path):
    path = tmp_path / "run"

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        return fill(path)

    saved, words = in_child(limited)
    assert 3 < saved < 40
    assert str(path / "run.sqlite") in words
    assert "what was finished before is kept" in words
    check_kept(path, saved)
    assert fill(path, items=30) == (30, "")
    check_kept(path, 30)


@pytest.fixture
def open_folder():
    """A folder that other users can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="strop-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_nobody(action):
    def unprivileged():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return action()

    return in_child(unprivileged)


def read_count(path):
    with Run.read(path) as run:
        return len(run.samples("s"))


@needs_root
def test_folders_of_others_can_be_read_and_say_why_they_cannot_be_written(open_folder):
    path = open_folder / "run"
    fill(path, items=3)
    assert as_nobody(lambda: read_count(path)) == 3
    refused = as_nobody(lambda: Run.open(path, command="eval", config=CONFIG))
    assert isinstance(refused, StropError)
    assert "cannot be written: Permission denied" in str(refused)
    assert "cannot be written: Permission denied" in str(
        as_nobody(lambda: Run.open(open_folder / "new" / "run", command="eval", config=CONFIG))
    )
    (path / "run.sqlite").chmod(0o600)
    assert "Check the permissions" in str(as_nobody(lambda: read_count(path)))
    (path / "manifest.json").chmod(0o600)
    assert "manifest.json cannot be read: Permission denied" in str(as_nobody(lambda: read_count(path)))


@needs_root
def test_a_read_only_folder_that_was_not_closed_says_how_to_read_it(open_folder):
    path, copy = open_folder / "run", open_folder / "copy"
    run = Run.open(path, command="eval", config=CONFIG)
    run.save_samples("s", [sample()])
    shutil.copytree(path, copy)  # as a kill would leave it: the entry is only in the log
    run.close()
    (copy / "run.sqlite-shm").unlink()
    assert "Copy the folder to a place where you can write" in str(as_nobody(lambda: read_count(copy)))
    assert read_count(copy) == 1


@needs_root
def test_a_read_only_database_file_is_explained(open_folder):
    path = open_folder / "run"
    fill(path, items=1)
    for entry in [path, *path.iterdir()]:
        os.chown(entry, 65534, 65534)
    (path / "run.sqlite").chmod(0o400)
    saved, words = as_nobody(lambda: fill(path, items=2))
    assert saved == 0
    assert "run.sqlite" in words
    assert "Check the permissions" in words
    check_kept(path, 1)
