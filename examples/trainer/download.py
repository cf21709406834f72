"""The public files of MNIST, Fashion-MNIST and KMNIST: downloaded from mirrors, resumed and checked.

By the standard library: pooch checks a file, but starts it again after a broken connection and knows one address each.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from examples.trainer.config import RunError

ROUNDS = 4  # times that all mirrors are tried before a file is given up
PAUSE = 1.0  # seconds before the second round; doubled before each later one
TIMEOUT = 30.0  # seconds without a byte until a connection counts as broken
CHUNK = 1 << 16


class File(NamedTuple):
    """What is known of a public file."""

    name: str
    size: int
    sha256: str


class Source(NamedTuple):
    """A data set: its files, and the mirrors, each of which has all of them."""

    mirrors: tuple[str, ...]
    files: tuple[File, ...]


def _files(*known: tuple[int, str]) -> tuple[File, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(File(f"{name}-ubyte.gz", *facts) for name, facts in zip(names, known, strict=True))


SOURCES = {
    "mnist": Source(
        ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        _files(
            (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    "fashion_mnist": Source(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # no certificate: the checksum suffices
        ),
        _files(
            (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    "kmnist": Source(
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        _files(
            (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ),
    ),
}


def fetch(source: Source, folder: Path) -> None:
    """Downloads the files of `source` that `folder` lacks, and checks all of them.

    Raises:
        RunError: if no mirror delivers a file, if it cannot be written, or if the folder has another file of its name.
    """
    try:
        if not _missing(source, folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes that share the folder, one downloads while the others wait.
        with FileLock(folder / ".lock"):
            for file in _missing(source, folder):
                _fetch_file(file, source.mirrors, folder)
    except OSError as error:  # of the disk: _append handles those of the network
        raise RunError(f"data.path: cannot keep files in {folder}: {error.strerror}") from error


def _missing(source: Source, folder: Path) -> list[File]:
    missing = []
    for file in source.files:
        path = folder / file.name
        if not path.exists():
            missing.append(file)
        elif sha256(path) != file.sha256:
            raise RunError(f"{path} is not the public file, whose SHA-256 is {file.sha256}: move it away or delete it")
    return missing


def _fetch_file(file: File, mirrors: Sequence[str], folder: Path) -> None:
    console = Console(highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        expand=True,
    ) as progress:
        task = progress.add_task(f"fetching {file.name}", total=file.size)
        host = _fetch_from_any(file, mirrors, folder, lambda size: progress.update(task, completed=size))
    console.print(f"fetched   {file.name} from {host}, {file.size:,} bytes", soft_wrap=True, markup=False)


def _fetch_from_any(file: File, mirrors: Sequence[str], folder: Path, show: Callable[[int], None]) -> str:
    """Tries the mirrors in turn, and returns the host of the one that delivered the file."""
    problems = {}
    for turn in range(ROUNDS):
        if turn:
            time.sleep(PAUSE * 2 ** (turn - 1))
        for mirror in mirrors:
            host = urllib.parse.urlsplit(mirror).netloc
            # One part per host: wrong content from one mirror does not spoil the part of another.
            part = folder / f"{file.name}.{host.replace(':', '_')}.part"
            problem = _fetch_from(mirror + file.name, file, part, show)
            if not problem:
                part.replace(folder / file.name)
                for rest in folder.glob(f"{file.name}.*.part"):
                    rest.unlink()
                return host
            problems[mirror] = problem
    reasons = "; ".join(f"{mirror} {problem}" for mirror, problem in problems.items())
    raise RunError(
        f"cannot fetch {file.name}: {reasons}. What has arrived is kept; the same command goes on from there"
    )


def _fetch_from(url: str, file: File, part: Path, show: Callable[[int], None]) -> str:
    """Downloads one file into `part`. Returns the problem, empty once the part is the whole file."""
    with part.open("ab") as out:
        problem, before = "", -1
        # A connection that broke off after some bytes is resumed at once.
        while before < out.tell() < file.size:
            before = out.tell()
            problem = _append(out, url, file.size, show)
        if out.tell() < file.size:
            return problem
    if sha256(part) == file.sha256:
        return ""
    part.unlink()  # there is no telling which bytes are wrong
    return "sends another content than the public file's"


def _append(out: BinaryIO, url: str, size: int, show: Callable[[int], None]) -> str:
    """Appends what one connection delivers of a file of `size` bytes. Returns why it ended early, if it did."""
    there = out.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "jaxconv"})  # noqa: S310 (one of SOURCES)
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except (OSError, http.client.HTTPException) as error:
        return _reason(error)
    with response:
        start, total = _span(response, there, size)
        if total != size:
            return f"has a file of {total} bytes, not {size}"
        if start > there:
            return f"sends the bytes from {start} on, not from {there} on"
        skip = there - start
        while out.tell() < size:
            try:
                chunk = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                return _reason(error)
            if not chunk:
                return "breaks off"
            out.write(chunk[skip:][: size - out.tell()])
            skip -= min(skip, len(chunk))
            show(out.tell())
    return ""


def _span(response: http.client.HTTPResponse, there: int, size: int) -> tuple[int, int]:
    """The offset in the file at which a response begins, and the size of the file as the server states it."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return (int(stated[1]), int(stated[2])) if stated else (there, size)
    # A server without ranges sends the file from its beginning.
    return 0, int(response.headers.get("Content-Length", size))


def _reason(error: OSError | http.client.HTTPException) -> str:
    """Why a connection failed, as words to follow the address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answers {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = (inner.strerror if isinstance(inner, OSError) else None) or str(inner) or type(inner).__name__
    return f"does not answer: {text}"


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
