"""Fetching from a server on this machine that drops, stalls, truncates and corrupts."""

import contextlib
import hashlib
import http.server
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from examples.trainer import download
from examples.trainer.config import RunError
from examples.trainer.download import File, Source

ROOT = Path(__file__).parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = "images.gz"


def known(content: bytes, name: str = NAME) -> File:
    return File(name, len(content), hashlib.sha256(content).hexdigest())


class Server:
    """Serves CONTENT at any address; `answers` says, request by request, what is wrong, the last one for all others.

    An answer is a dict: `status`; `content`; `ranges` False if it ignores them; `stop` after so many bytes of the
    content; `stall` instead of closing then; `length` False to state none; `delay` in seconds between pieces.
    """

    def __init__(self):
        self.answers, self.ranges, self.paths, self.sent = [{}], [], [], 0
        self.released = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError):  # of one who was killed
                    owner.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http://{self.host}/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request):
        number = len(self.paths)
        self.paths.append(request.path)
        self.ranges.append(request.headers.get("Range"))
        answer = self.answers[min(number, len(self.answers) - 1)]
        if "status" in answer:
            return request.send_error(answer["status"])
        content, start = answer.get("content", CONTENT), 0
        if self.ranges[-1] and answer.get("ranges", True):
            start = int(self.ranges[-1].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        if answer.get("length", True):
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        stop = min(answer.get("stop", len(content)), len(content) - start)
        for piece in range(start, start + stop, 5000):
            data = content[piece : min(piece + 5000, start + stop)]
            self.sent += len(data)  # before the client can have it all, and look
            request.wfile.write(data)
            time.sleep(answer.get("delay", 0))
        if answer.get("stall"):
            self.released.wait(30)

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other():
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The seconds that would have been slept."""
    monkeypatch.setenv("no_proxy", "*")
    waited = []

    class Time:
        sleep = waited.append

    monkeypatch.setattr(download, "time", Time)
    return waited


def fetch(folder, *servers, files=None):
    download.fetch(Source(tuple(server.url for server in servers), files or (known(CONTENT),)), folder)


def in_a_process(server, folder):
    """Two lines of Python that fetch the file."""
    source = Source((server.url,), (known(CONTENT),))
    return f"""from pathlib import Path, PosixPath; from examples.trainer.download import *
fetch({source!r}, {folder!r})
"""


def check(folder):
    assert (folder / NAME).read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == [".lock", NAME]


def refused(folder, *servers, **options):
    with pytest.raises(RunError) as caught:
        fetch(folder, *servers, **options)
    assert not (folder / NAME).exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_are_fetched_once(tmp_path, server, capsys, pauses):
    files = (known(CONTENT), known(CONTENT, "labels.gz"))
    folder = tmp_path / "deep" / "folder"
    fetch(folder, server, files=files)
    assert [(folder / file.name).read_bytes() for file in files] == [CONTENT, CONTENT]
    assert server.paths == ["/images.gz", "/labels.gz"]
    assert server.ranges == [None, None]
    out = capsys.readouterr().out
    assert out.splitlines() == [f"fetched   {file.name} from {server.host}, 300,000 bytes" for file in files]
    assert "\x1b" not in out

    fetch(folder, server, files=files)
    assert len(server.paths) == 2
    assert capsys.readouterr().out == ""
    assert pauses == []


def test_a_terminal_sees_the_progress(tmp_path, server, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    fetch(tmp_path, server)
    out = capsys.readouterr().out
    assert "fetching images.gz" in out
    assert "\x1b[" in out


def test_a_file_that_is_there_needs_no_place_to_write(tmp_path, server):
    (tmp_path / NAME).write_bytes(CONTENT)
    fetch(tmp_path, server)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]  # no lock, which a folder to read from would refuse
    assert server.paths == []


def test_a_dropped_connection_is_resumed_where_it_broke(tmp_path, server, pauses):
    server.answers = [{"stop": 70_000}]  # every time
    fetch(tmp_path, server)
    check(tmp_path)
    assert server.ranges == [None, *(f"bytes={start}-" for start in (70_000, 140_000, 210_000, 280_000))]
    assert server.sent == len(CONTENT)  # no byte twice
    assert pauses == []


def test_a_dropped_connection_of_a_server_without_ranges(tmp_path, server, pauses):
    server.answers = [{"stop": 70_000}, {"ranges": False, "stop": 200_000}, {"ranges": False}]
    fetch(tmp_path, server)
    check(tmp_path)
    assert server.ranges == [None, "bytes=70000-", "bytes=200000-"]
    assert pauses == []


def test_a_server_that_stalls(tmp_path, server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.answers = [{"stop": 100_000, "stall": True}, {}]
    fetch(tmp_path, server)
    check(tmp_path)
    assert server.ranges == [None, "bytes=100000-"]


def test_what_was_fetched_before_is_kept(tmp_path, server):
    (tmp_path / f"{NAME}.{server.host.replace(':', '_')}.part").write_bytes(CONTENT[:123_456])
    fetch(tmp_path, server)
    check(tmp_path)
    assert server.ranges == ["bytes=123456-"]


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_from_there(tmp_path, server):
    """SIGKILL in the middle of a file, with the server slow enough to be in it."""
    server.answers = [{"delay": 0.02}, {}]
    process = subprocess.Popen([sys.executable, "-c", in_a_process(server, tmp_path)], cwd=ROOT)
    part = tmp_path / f"{NAME}.{server.host.replace(':', '_')}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 50_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    size = part.stat().st_size
    assert 50_000 < size < len(CONTENT)
    fetch(tmp_path, server)  # the lock of the dead process holds nobody up
    check(tmp_path)
    assert server.ranges == [None, f"bytes={size}-"]


def test_an_error_passes_after_a_pause(tmp_path, server, pauses):
    server.answers = [{"status": 503}, {"status": 503}, {"status": 503}, {}]
    fetch(tmp_path, server)
    check(tmp_path)
    assert pauses == [1, 2, 4]


def test_the_next_mirror_helps_out_at_once(tmp_path, server, other, pauses):
    server.answers = [{"status": 404}]
    fetch(tmp_path, server, other)
    check(tmp_path)
    assert len(server.paths) == len(other.paths) == 1
    assert pauses == []


def test_no_mirror_has_the_file(tmp_path, server, other, pauses):
    server.answers, other.answers = [{"status": 404}], [{"status": 500}]
    assert refused(tmp_path, server, other) == (
        f"cannot fetch images.gz: {server.url} answers 404 Not Found; {other.url} answers 500 Internal Server Error. "
        "What has arrived is kept; the same command goes on from there"
    )
    assert len(server.paths) == len(other.paths) == download.ROUNDS
    assert pauses == [1, 2, 4]


def test_nobody_answers(tmp_path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        assert f"{server.url} does not answer: Connection refused" in refused(tmp_path, server)


def test_no_such_host(tmp_path, server):
    server.url = "http://nowhere.invalid/"
    assert f"{server.url} does not answer: " in refused(tmp_path, server)


@pytest.mark.parametrize("stop", [1000, 100_000])
def test_a_connection_that_brings_no_more_is_given_up(tmp_path, server, pauses, stop):
    server.answers = [{"ranges": False, "stop": stop}]
    assert "breaks off" in refused(tmp_path, server)
    assert pauses == [1, 2, 4]
    (part,) = tmp_path.glob("*.part")
    assert part.read_bytes() == CONTENT[:stop]


def test_a_truncated_file(tmp_path, server, other):
    server.answers = [{"content": CONTENT[:-1]}]
    assert f"{server.url} has a file of 299999 bytes, not 300000" in refused(tmp_path, server)
    fetch(tmp_path, server, other)
    check(tmp_path)
    # The same in the middle of a file.
    (tmp_path / NAME).unlink()
    server.paths.clear()
    server.answers = [{"stop": 70_000}, {"content": CONTENT[:-1]}]
    assert f"{server.url} has a file of 299999 bytes, not 300000" in refused(tmp_path, server)


def test_a_truncated_file_of_unstated_length(tmp_path, server, other):
    server.answers = [{"content": CONTENT[:-1], "length": False}]
    fetch(tmp_path, server, other)
    check(tmp_path)
    assert server.ranges == [None, "bytes=299999-"]


def test_a_file_that_is_too_long(tmp_path, server):
    server.answers = [{"content": CONTENT + b"more", "length": False}]
    fetch(tmp_path, server)
    check(tmp_path)


@pytest.mark.parametrize("place", [0, 150_000, 299_999])
def test_a_corrupted_file(tmp_path, server, other, place):
    wrong = bytearray(CONTENT)
    wrong[place] ^= 1
    server.answers = [{"content": bytes(wrong)}]
    assert f"{server.url} sends another content than the public file's" in refused(tmp_path, server)
    assert len(server.paths) == download.ROUNDS
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]  # nothing of it is kept

    fetch(tmp_path, server, other)
    check(tmp_path)


def test_a_page_instead_of_the_file_spoils_nothing(tmp_path, server, other):
    """A portal that answers everything with its own page, in a mirror's place, and a mirror that drops."""
    server.answers = [{"content": b"<html>log in", "length": False, "ranges": False}]
    other.answers = [{"stop": 100_000}]
    fetch(tmp_path, server, other)
    check(tmp_path)
    assert other.sent == len(CONTENT)


def test_a_corrupted_connection_is_begun_anew(tmp_path, server, pauses):
    server.answers = [{"stop": 70_000}, {"content": bytes(len(CONTENT))}, {}]
    fetch(tmp_path, server)
    check(tmp_path)
    assert server.ranges == [None, "bytes=70000-", None]
    assert pauses == [1]


def test_another_file_of_that_name_is_left_alone(tmp_path, server):
    (tmp_path / NAME).write_bytes(b"mine")
    with pytest.raises(RunError) as caught:
        fetch(tmp_path, server)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    place = tmp_path / NAME
    assert str(caught.value) == f"{place} is not the public file, whose SHA-256 is {sha256}: move it away or delete it"
    assert place.read_bytes() == b"mine"
    assert server.paths == []


def test_a_folder_that_cannot_be_made(tmp_path, server):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    message = refused(folder, server)
    assert message == f"data.path: cannot keep files in {folder}: Not a directory"


@pytest.mark.slow
def test_a_full_disk(tmp_path, server):
    """A limit on the size of a file stands in for it: the system refuses a write in the same way."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    program = limit + in_a_process(server, tmp_path)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message = f"data.path: cannot keep files in {tmp_path}: File too large"
    assert done.stderr.splitlines()[-1] == f"examples.trainer.config.RunError: {message}"
    assert len(server.paths) == 1  # no retry: the network is not at fault
    fetch(tmp_path, server)
    check(tmp_path)


def test_of_several_processes_one_fetches(tmp_path, server):
    server.answers = [{"delay": 0.002}]
    threads = [threading.Thread(target=fetch, args=(tmp_path, server)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(tmp_path)
    assert len(server.paths) == 1


@pytest.mark.parametrize("name", download.SOURCES)
def test_the_sources_are_well_formed(name):
    source = download.SOURCES[name]
    assert all(mirror.startswith(("http://", "https://")) and mirror.endswith("/") for mirror in source.mirrors)
    assert len(set(source.mirrors)) >= 2
    assert len({file.sha256 for file in source.files}) == 4
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in source.files)
