"""Fetching from a server with faults: what arrives is whole and right, or the message says why not."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_server import serving

from groundup.core.errors import InputError, MissingError, OutputError
from groundup.corpus.fetching import download
from groundup.corpus.fetching.download import MANIFEST, Download, Patience, fetch_files

DATA = random.Random(1).randbytes(300_000)
SHA256, MD5 = hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()
QUICK = Patience(attempts=4, start_seconds=0.01, timeout_seconds=5.0)


@pytest.fixture
def server():
    with serving() as state:
        state.files["/a"] = DATA
        yield state


def fetch(server, folder, name="a", **published):
    return fetch_files([Download(f"{server.url}/{name}", name, **published)], folder, patience=QUICK)


def test_a_file_arrives_and_the_manifest_says_so(server, tmp_path):
    (fetched,) = fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA
    assert (fetched.bytes, fetched.sha256, fetched.url) == (len(DATA), SHA256, f"{server.url}/a")
    (line,) = json.loads((tmp_path / MANIFEST).read_text())["files"]
    assert line["sha256"] == SHA256
    assert line["date"].startswith("20")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", MANIFEST]


@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize(
    "faults", [["drop"], ["drop", "drop", "503", "drop"], ["503", "429"], ["drop", "ignore range"]]
)
def test_faults_that_pass(server, tmp_path, faults, etag):
    server.faults["/a"] = list(faults)
    if etag:
        server.etags["/a"] = "one"
    (fetched,) = fetch(server, tmp_path, sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == DATA
    assert fetched.sha256 == SHA256
    assert server.times("/a") == len(faults) + (faults[-1] != "ignore range")  # which is an answer, too
    resumed = [asked for _, asked, _ in server.ranges]
    if faults[0] == "drop" and faults[-1] != "ignore range":
        assert f"bytes={len(DATA) // 2}-" in resumed
    if etag and resumed:
        assert {validator for _, _, validator in server.ranges} == {'"one"'}


def test_a_file_that_changed_between_two_attempts_starts_over(server, tmp_path):
    server.etags["/a"] = "one"
    server.faults["/a"] = ["drop", "403"]
    with pytest.raises(InputError, match="answered 403"):
        fetch(server, tmp_path)
    new = DATA[::-1]
    server.files["/a"], server.etags["/a"] = new, "two"
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == new


@pytest.mark.parametrize("published", [{"sha256": SHA256}, {"md5": MD5}])
def test_a_spoilt_file_is_fetched_again_and_then_refused(server, tmp_path, published):
    server.faults["/a"] = ["spoilt"]
    fetch(server, tmp_path, **published)
    assert (tmp_path / "a").read_bytes() == DATA
    server.faults["/a"] = ["spoilt", "spoilt"]
    with pytest.raises(InputError, match=r"fetched twice and has the (sha256|md5) \w+ instead of"):
        fetch(server, tmp_path / "b", **published)
    assert list((tmp_path / "b").iterdir()) == []


def test_a_wrong_length(server, tmp_path):
    with pytest.raises(InputError, match="has 300,000 bytes instead of 300,001"):
        fetch(server, tmp_path, size=300_001)
    server.faults["/a"] = ["short"]
    fetch(server, tmp_path, size=300_000)
    assert (tmp_path / "a").read_bytes() == DATA


def test_the_second_fetch_verifies(server, tmp_path):
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert server.times("/a") == 1
    (tmp_path / "a").write_bytes(DATA[:-1] + b"?")
    fetch(server, tmp_path)
    assert server.times("/a") == 2
    assert (tmp_path / "a").read_bytes() == DATA
    (tmp_path / "a").unlink()
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_head_and_without_ranges(server, tmp_path):
    server.heads = server.ranges_known = False
    server.faults["/a"] = ["drop"]
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_published_hash_behind_a_redirect_counts(server, tmp_path):
    server.redirects["/big"] = (f"{server.url}/a", {"X-Linked-ETag": f'"{"0" * 64}"'})
    with pytest.raises(InputError, match=f"sha256 {SHA256} instead of 0000"):
        fetch(server, tmp_path, "big")
    server.redirects["/big"] = (f"{server.url}/a", {"X-Linked-ETag": f'"{SHA256}"'})
    fetch(server, tmp_path, "big")
    assert (tmp_path / "big").read_bytes() == DATA


def test_faults_that_stay_are_told(server, tmp_path):
    with pytest.raises(MissingError, match=r"There is no .*/none"):
        fetch(server, tmp_path, "none")
    server.faults["/a"] = ["503"] * 20
    with pytest.raises(InputError, match=r"answered 503 \(4 attempts\)"):
        fetch(server, tmp_path)
    with pytest.raises(InputError, match=r"\(4 attempts\). Check the network"):
        fetch_files([Download("http://127.0.0.1:9/x", "x")], tmp_path, patience=QUICK)


def test_progress_resets_the_patience(server, tmp_path):
    server.faults["/a"] = ["drop"] * 9  # more than QUICK allows without a new byte
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA


def test_several_files_at_once(server, tmp_path):
    names = [f"f{number}" for number in range(12)]
    for number, name in enumerate(names):
        server.files[f"/{name}"] = DATA[number : number + 5000 * number]
        server.faults[f"/{name}"] = ["503"] * (number % 3)
    fetched = fetch_files([Download(f"{server.url}/{name}", name) for name in names], tmp_path, patience=QUICK)
    assert [one.name for one in fetched] == names
    assert all((tmp_path / name).read_bytes() == server.files[f"/{name}"] for name in names)


def test_a_full_disk(server, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(OutputError, match=r"the disk has 0\.0 GB free"):
        fetch(server, tmp_path)
    monkeypatch.undo()
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    (tmp_path / ".part-a").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"the disk is full\. Free space there"):
        fetch(server, tmp_path)


CHILD = """
import sys
from pathlib import Path
from groundup.corpus.fetching.download import Download, fetch_files
fetch_files([Download(sys.argv[1], "a")], Path(sys.argv[2]))
"""


def test_a_killed_fetch_goes_on(server, tmp_path):
    server.faults["/a"] = ["slow"]
    server.etags["/a"] = "one"
    process = subprocess.Popen([sys.executable, "-c", CHILD, f"{server.url}/a", str(tmp_path)])
    part = tmp_path / ".part-a"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    server.release.set()
    there = part.stat().st_size
    assert 0 < there < len(DATA)
    assert not (tmp_path / "a").exists()
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.ranges == [("/a", f"bytes={there}-", '"one"')]


@pytest.mark.parametrize("when", ["before the manifest", "before the name"])
def test_a_kill_at_the_end(server, tmp_path, monkeypatch, when):
    class KilledError(BaseException):
        pass

    def killed(*arguments):
        raise KilledError

    place = (download._Manifest, "add") if when == "before the manifest" else (download.os, "replace")
    if when == "before the name":
        replace = os.replace
        monkeypatch.setattr(download.os, "replace", lambda a, b: killed() if Path(b).name == "a" else replace(a, b))
    else:
        monkeypatch.setattr(*place, killed)
    with pytest.raises(KilledError):
        fetch(server, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "a").exists()
    fetch(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.times("/a") == 1  # all of it was there
    assert not list(tmp_path.glob(".part-*"))
