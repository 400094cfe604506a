"""Download of a preset's weight file, only at the user's request.

The file is written as `NAME.part`, resumed if it was interrupted, checked, and only then renamed.
If the authors publish no hash, that of the first download is stored beside the file, so that later
downloads can be compared.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import httpx

from ldm.catalog.hashes import CHUNK_BYTES, sha256_of
from ldm.catalog.schema import Preset
from ldm.errors import DownloadError
from ldm.files import put_in_place

TIMEOUT = httpx.Timeout(30.0)
MAX_ATTEMPTS = 5  # requests for a download that is interrupted repeatedly

OnProgress = Callable[[int, int | None], None]  # bytes so far, total bytes if known


@dataclass(frozen=True)
class Target:
    """One file to download, with its expected hash and size if they are known."""

    url: str
    path: Path
    sha256: str | None = None
    bytes: int | None = None


def download_preset(
    preset: Preset, on_progress: OnProgress | None = None, client: httpx.Client | None = None
) -> Path:
    """Download a preset's weight file, if it does not exist; unpack it if it is in an archive.

    Args:
        preset: The preset; only its own file is downloaded, not another preset's first stage.
        on_progress: Called with the bytes so far and, if known, the total bytes.
        client: Client for the requests; None: a new one.

    Returns:
        The path of the weight file.

    Raises:
        DownloadError: If the file cannot be downloaded or differs from what is expected.
    """
    about, path = preset.weights, preset.weight_path
    if path.exists():
        return path
    if about.url is None:
        raise DownloadError(f"{path} is missing and has no source to download it from.")
    archive = path if about.member is None else _beside(path, ".zip")
    is_given = archive.exists()  # the user has put it there, so it is not deleted
    if not is_given:
        target = Target(about.url, archive, about.sha256, about.bytes)
        with nullcontext(client) if client is not None else _own_client() as client:
            download(target, client, on_progress)
    if about.member is not None:
        extract_member(archive, about.member, path, keep=is_given)
    return path


def _own_client() -> httpx.Client:
    return httpx.Client(follow_redirects=True, timeout=TIMEOUT)


def download(target: Target, client: httpx.Client, on_progress: OnProgress | None = None) -> None:
    """Download one file: resumable, checked, atomic.

    Raises:
        DownloadError: If it fails; one sentence with the address, the cause and what to do. The
            part that has arrived is kept for the next try, unless it is wrong.
    """
    part = _beside(target.path, ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch_all(target, part, client, on_progress or (lambda done, total: None))
        digest = _check(target, part)
        if target.sha256 is None:
            _note(_beside(target.path, ".sha256"), digest)
        put_in_place(part, target.path)
    except OSError as error:
        raise _unwritable(target.path, error) from error


def _unwritable(path: Path, error: OSError) -> DownloadError:
    return DownloadError(f"{path} cannot be written: {error.strerror or type(error).__name__}.")


def extract_member(archive: Path, pattern: str, path: Path, *, keep: bool) -> None:
    """Write the one member whose file name matches `pattern` to `path`; ignore all others.

    Without `keep` the archive is deleted afterwards, also if it is damaged.

    Raises:
        DownloadError: If the archive is damaged or encrypted, has no or several such members, or
            `path` cannot be written.
    """
    part = _beside(path, ".part")
    try:
        with zipfile.ZipFile(archive) as file:
            names = [n for n in file.namelist() if fnmatchcase(n.rpartition("/")[2], pattern)]
            if len(names) != 1:
                raise DownloadError(
                    f"{archive} should hold one file {pattern}, it holds {len(names)}; "
                    "unpack it by hand."
                )
            with file.open(names[0]) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        part.unlink(missing_ok=True)
        if keep:
            raise DownloadError(f"{archive} is damaged; put another copy there.") from error
        archive.unlink(missing_ok=True)
        raise DownloadError(f"{archive} was damaged and is deleted; download it again.") from error
    except RuntimeError as error:  # zipfile raises it for a member that needs a password
        part.unlink(missing_ok=True)
        raise DownloadError(f"{archive} is encrypted; unpack it by hand.") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    put_in_place(part, path)
    if not keep:
        archive.unlink()


def _fetch_all(target: Target, part: Path, client: httpx.Client, on_progress: OnProgress) -> None:
    """Download until the file is complete, resuming after interrupted connections."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        try:
            return _fetch(target, part, client, on_progress)
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout) as error:
            grown = part.exists() and part.stat().st_size > before
            if attempt == MAX_ATTEMPTS or not grown:
                raise DownloadError(
                    f"{target.url} broke off; try again, what has arrived is kept."
                ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DownloadError(
                f"{target.url} cannot be reached ({reason}); check the network, "
                f"or put the file at {target.path} yourself."
            ) from error
    return None


def _fetch(target: Target, part: Path, client: httpx.Client, on_progress: OnProgress) -> None:
    """Request what is missing, or the whole file if it has changed on the server."""
    have = part.stat().st_size if part.exists() else 0
    version = _beside(part, ".etag")
    headers = {"Accept-Encoding": "identity"}
    if have and version.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text("ascii")}
    elif have:
        headers |= {"Range": f"bytes={have}-"}
    with client.stream("GET", target.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete; `_check` verifies it
        _check_answer(target, response, have)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        have = have if resumed else 0
        _note(version, response.headers.get("etag"))
        length = response.headers.get("content-length")
        total = have + int(length) if length else target.bytes
        with part.open("ab" if resumed else "wb") as file:
            on_progress(have, total)
            for chunk in response.iter_raw():
                file.write(chunk)
                have += len(chunk)
                on_progress(have, total)


def _check_answer(target: Target, response: httpx.Response, have: int) -> None:
    given = response.headers.get("content-range", "")
    if response.status_code == httpx.codes.PARTIAL_CONTENT and f"bytes {have}-" not in given:
        raise DownloadError(f"{target.url} answers with another part than asked for; try again.")
    if not response.is_success:
        raise DownloadError(
            f"{target.url} answers {response.status_code} {response.reason_phrase}; "
            f"look for the file elsewhere and put it at {target.path}."
        )
    if response.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError(
            f"{target.url} answers with a web page, not the file; "
            f"fetch it in a browser and put it at {target.path}."
        )


def _check(target: Target, part: Path) -> str:
    """Check size and hash and return the hash; a wrong file is deleted."""
    size = part.stat().st_size
    digest = sha256_of(part)
    wanted = target.sha256 or _noted_hash(target)
    fault = None
    if target.bytes is not None and size != target.bytes:
        fault = f"{size} bytes instead of {target.bytes}"
    elif wanted is not None and digest != wanted:
        fault = f"sha256 {digest[:16]}... instead of {wanted[:16]}..."
    _beside(part, ".etag").unlink(missing_ok=True)
    if fault:
        part.unlink()
        raise DownloadError(f"{target.url} sent another file than expected ({fault}); try again.")
    return digest


def _noted_hash(target: Target) -> str | None:
    path = _beside(target.path, ".sha256")
    return path.read_text("ascii").strip() if path.exists() else None


def _note(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text, "ascii")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
