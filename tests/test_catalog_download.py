"""Downloads from a server in this process: resumed, checked, atomic, and clear when they fail."""

import errno
import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ldm.catalog.download import Target, download, download_preset
from ldm.catalog.hashes import weights_sha256
from ldm.catalog.registry import load_preset
from ldm.errors import DownloadError

CONTENT = bytes(range(256)) * 20_000  # 5 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT and remembers the ranges asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.cut_after: list[int] = []  # bytes to send before hanging up, one per request
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.ckpt"


class Handler(BaseHTTPRequestHandler):
    """Ranges and If-Range, as a file server has them."""

    server: Server

    def do_GET(self) -> None:  # noqa: N802  (the base class's name)
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/page":
            return self._send(200, b"<html>", "text/html")
        start = int(wanted[6:-1]) if wanted else 0
        if self.headers["If-Range"] not in (None, self.server.etag):
            start = 0
        if start >= len(self.server.content):
            return self.send_error(416)
        return self._send(206 if start else 200, self.server.content[start:], "x/y", start)

    def _send(self, status: int, body: bytes, kind: str, start: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        if status == 206:
            end = start + len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.end_headers()
        cut = self.server.cut_after.pop(0) if self.server.cut_after else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client():
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        yield client


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "models" / "m" / "model.ckpt"


def names(path: Path) -> set[str]:
    return {p.name for p in path.parent.iterdir()}


def test_a_file_is_fetched_with_progress(server, client, path):
    seen = []
    download(Target(server.url, path, DIGEST, len(CONTENT)), client, lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT
    assert names(path) == {"model.ckpt"}
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_connection_is_taken_up_where_it_broke(server, client, path):
    server.cut_after = [1_000_000, 2_000_000]
    download(Target(server.url, path, DIGEST), client)
    assert path.read_bytes() == CONTENT
    assert server.ranges[0] is None
    starts = [int(wanted[6:-1]) for wanted in server.ranges[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 3_000_000


def test_a_later_try_goes_on_from_what_has_arrived(server, client, path):
    server.cut_after = [3_000_000, 0]
    with pytest.raises(DownloadError, match="broke off"):
        download(Target(server.url, path), client)
    assert not path.exists()
    arrived = path.with_name("model.ckpt.part").stat().st_size
    assert arrived > 0
    download(Target(server.url, path), client)
    assert server.ranges[-1] == f"bytes={arrived}-"
    assert path.read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, client, path):
    server.cut_after = [3_000_000, 0]
    with pytest.raises(DownloadError):
        download(Target(server.url, path), client)
    server.content, server.etag = CONTENT[::-1], '"two"'
    seen = []
    download(Target(server.url, path), client, lambda *at: seen.append(at))
    assert path.read_bytes() == CONTENT[::-1]
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


def test_a_part_that_was_already_whole_is_kept(server, client, path):
    path.parent.mkdir(parents=True)
    path.with_name("model.ckpt.part").write_bytes(CONTENT)
    download(Target(server.url, path, DIGEST), client)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wanted", "words"),
    [({"sha256": "0" * 64}, "sha256"), ({"bytes": 17}, "instead of 17")],
)
def test_a_wrong_file_is_refused_and_deleted(server, client, path, wanted, words):
    with pytest.raises(DownloadError, match=words) as caught:
        download(Target(server.url, path, **wanted), client)
    assert names(path) == set()
    assert "\n" not in str(caught.value)


def test_the_first_hash_is_noted_and_held_later(server, client, path):
    download(Target(server.url, path), client)
    assert path.with_name("model.ckpt.sha256").read_text() == DIGEST
    path.unlink()
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match="sha256"):
        download(Target(server.url, path), client)


@pytest.mark.parametrize(("page", "words"), [("/missing", "404"), ("/page", "web page")])
def test_an_answer_that_is_no_file_is_an_error(server, client, path, page, words):
    url = server.url.replace("/model.ckpt", page)
    with pytest.raises(DownloadError, match=words) as caught:
        download(Target(url, path), client)
    assert url in str(caught.value)
    assert str(path) in str(caught.value)
    assert names(path) == set()


def test_offline_says_what_to_do(client, path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DownloadError, match="check the network") as caught:
        download(Target(f"http://127.0.0.1:{port}/m.ckpt", path), client)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_made_is_an_error(server, client, tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(Target(server.url, tmp_path / "models" / "m.ckpt"), client)


def zipped(*members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in members:
            archive.writestr(name, CONTENT[: len(name) * 1000])
    return file.getvalue()


@pytest.fixture
def preset(server, tmp_path):
    preset = load_preset("celeba256", models_dir=tmp_path / "models")
    return replace(preset, weights=replace(preset.weights, url=server.url))


def test_the_one_weight_file_is_taken_out_of_an_archive(server, client, preset, tmp_path):
    server.content = zipped("../../evil.txt", "inner/model.ckpt", "config.yaml")
    assert not preset.is_on_disk
    path = download_preset(preset, client=client)
    assert path == preset.weight_path == tmp_path / "models" / "celeba256" / "model.ckpt"
    assert path.read_bytes() == CONTENT[: len("inner/model.ckpt") * 1000]
    assert preset.is_on_disk
    assert names(path) == {"model.ckpt", "model.ckpt.zip.sha256"}
    assert not list(tmp_path.rglob("evil.txt"))
    assert weights_sha256(preset) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_there_is_not_fetched_again(server, client, preset):
    preset.weight_path.parent.mkdir(parents=True)
    preset.weight_path.write_bytes(b"mine")
    download_preset(preset, client=client)
    assert server.ranges == []
    assert preset.weight_path.read_bytes() == b"mine"


def test_an_archive_that_a_person_put_there_is_unpacked_and_kept(server, client, preset):
    path = preset.weight_path
    archive = path.with_name("model.ckpt.zip")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"no archive")
    with pytest.raises(DownloadError, match="model.ckpt.zip is damaged; put another copy there"):
        download_preset(preset, client=client)
    archive.write_bytes(zipped("inner/model.ckpt"))
    assert download_preset(preset, client=client) == path
    assert path.read_bytes() == CONTENT[: len("inner/model.ckpt") * 1000]
    assert server.ranges == []
    assert names(path) == {"model.ckpt", "model.ckpt.zip"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped("a.ckpt", "b.ckpt"), "holds 2"),
        (zipped("readme.txt"), "holds 0"),
        (b"no archive", "damaged"),
    ],
)
def test_an_archive_without_the_one_file_is_an_error(server, client, preset, content, words):
    server.content = content
    with pytest.raises(DownloadError, match=words):
        download_preset(preset, client=client)
    assert not preset.is_on_disk


def test_a_disk_that_is_full_while_unpacking_is_an_error(
    server, client, preset, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    server.content = zipped("inner/model.ckpt")
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DownloadError, match="model.ckpt cannot be written: No space left"):
        download_preset(preset, client=client)
    assert not list(tmp_path.rglob("*.part"))
    assert list(tmp_path.rglob("*.zip"))  # what has arrived is kept


def test_an_encrypted_archive_is_an_error(server, client, preset):
    content = bytearray(zipped("inner/model.ckpt"))
    for start in (content.index(b"PK\3\4") + 6, content.index(b"PK\1\2") + 8):
        content[start] |= 1  # the flag of a member that needs a password
    server.content = bytes(content)
    with pytest.raises(DownloadError, match="encrypted; unpack it by hand"):
        download_preset(preset, client=client)


def test_a_preset_without_a_source_says_so(preset):
    preset = replace(preset, weights=replace(preset.weights, url=None))
    with pytest.raises(DownloadError, match="no source"):
        download_preset(preset)
