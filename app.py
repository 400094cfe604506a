"""Entry point, `python app.py`: parse the flags, build studio and page, and serve the page."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from ldm.errors import LDMError, RequestError
from ldm.history import OUTPUTS, THUMBNAILS, VISITORS
from ldm.jobs import JobQueue
from ldm.jobs.line import Limits
from ldm.outputs.metadata import program
from ldm.outputs.retention import Keeper
from ldm.outputs.unfinished import FOLDER
from ldm.runtime.device import check_device_name
from ldm.runtime.memory import parse_bytes

if TYPE_CHECKING:
    from ldm.studio import Studio

OWN_HOSTS = ("127.0.0.1", "localhost", "::1")  # reachable from this machine only
# addresses within a network; of any other, what it says of whom it speaks for is not believed
PROXIES = "127.0.0.0/8,10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fc00::/7"
DEMO_PRESET = "demo-text-to-image"
CACHE = "cache"  # folder of uploads and previews in the data folder
# of a page that many share, without a history
VISITOR_JOBS = 8  # waiting jobs of one visitor
LONGEST = 600.0  # s
KEPT = "4GiB"


def main() -> int:
    """Serve the page until the process is interrupted; return the exit code."""
    flags = _flags()
    data_dir = flags.data_dir.resolve()
    # Gradio and the Hugging Face hub read these at import
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if "SPACE_ID" in os.environ:  # all visitors come through its proxy, which says who they are
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
    os.environ["GRADIO_TEMP_DIR"] = str(data_dir / CACHE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM saves running work, too
    try:
        budget, kept = _check(flags, data_dir)
        _serve(flags, data_dir, budget, kept)
    except LDMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass  # interrupted before the page was up
    return 0


def _serve(flags: argparse.Namespace, data_dir: Path, budget: int | None, kept: int) -> None:
    from gradio.tunneling import CURRENT_TUNNELS  # noqa: PLC0415  (after the environment is set)

    from ui.app import build, files_of, launch_options  # noqa: PLC0415

    def make_studio() -> Studio:
        from ldm.studio import Studio  # noqa: PLC0415  (torch: the page does not wait for it)

        about = {"memory_budget": budget, "data_dir": data_dir, "is_public": not flags.history}
        return Studio(device=flags.device, **about)

    jobs = JobQueue(make_studio, _limits(flags))
    page = build(jobs, data_dir if flags.history else None, data_dir / FOLDER)
    password = secrets.token_urlsafe(9) if flags.share else None
    try:
        page.launch(
            server_name=flags.host,
            server_port=flags.port,
            share=flags.share,
            auth=("studio", password) if password else None,
            allowed_paths=[str(data_dir / folder) for folder in _served(flags)],
            prevent_thread_lock=True,
            **launch_options(),
        )
    except OSError as error:  # the port was taken after `_check`
        raise _no_port(flags, error) from error
    print(f"Latent Canvas is at http://{flags.host}:{flags.port}", flush=True)
    if password:
        print(f"Public link: {page.share_url or 'none, the relay cannot be reached'}")
        print(f"User studio, password {password}", flush=True)
    if not flags.history:
        Keeper([data_dir / VISITORS, data_dir / CACHE], kept, files_of(page))
    try:
        jobs.warm_up(DEMO_PRESET)
        page.block_thread()
    except KeyboardInterrupt:
        pass  # Ctrl+C is the normal way to stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one would lose running work
            signal.signal(number, signal.SIG_IGN)
        jobs.close()
        for tunnel in CURRENT_TUNNELS:
            tunnel.kill()  # Gradio's own end of the public link belongs to a normal exit
    # A normal exit of the interpreter takes apart all of torch, for seconds, and would crash a
    # worker that is still inside it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _flags() -> argparse.Namespace:
    on_spaces = "SPACE_ID" in os.environ
    parser = argparse.ArgumentParser(description="Latent Canvas: a studio for latent diffusion")
    parser.add_argument("--version", action="version", version=program())
    parser.add_argument("--host", default="0.0.0.0" if on_spaces else "127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--share", action="store_true", help="a public link, with a password")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--memory-budget", help="bytes for loaded models, like 4GiB")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="pictures and cache")
    parser.add_argument(
        "--history",
        action=argparse.BooleanOptionalAction,
        help="show every visitor all pictures that were made; by itself on this machine alone",
    )
    about = "a run may be expected to take; without a history 600, else any number"
    parser.add_argument("--longest", type=float, metavar="SECONDS", help=about)
    about = f"disk for pictures, and as much for uploads, without a history; {KEPT} by itself"
    parser.add_argument("--keep", default=KEPT, metavar="AMOUNT", help=about)
    flags = parser.parse_args()
    if flags.history is None:
        flags.history = flags.host in OWN_HOSTS and not flags.share
    return flags


def _limits(flags: argparse.Namespace) -> Limits:
    """What one visitor may ask for."""
    if flags.history:
        return Limits(seconds=flags.longest)
    return Limits(VISITOR_JOBS, LONGEST if flags.longest is None else flags.longest)


def _served(flags: argparse.Namespace) -> tuple[str, ...]:
    """Folders in the data folder whose files the page hands out, to everybody who knows a name."""
    return (OUTPUTS, THUMBNAILS) if flags.history else (VISITORS,)


def _check(flags: argparse.Namespace, data_dir: Path) -> tuple[int | None, int]:
    """Check the flags before the slow imports.

    Returns:
        The memory budget (None: not given) and the disk space of a shared page, in bytes.

    Raises:
        RequestError: If a flag's value is invalid. The message names the value and the fix.
    """
    check_device_name(flags.device)
    budget = parse_bytes(flags.memory_budget) if flags.memory_budget is not None else None
    kept = parse_bytes(flags.keep, "keep")
    if flags.longest is not None and not flags.longest > 0:
        raise RequestError(f"longest must be more than 0 seconds, got {flags.longest:g}.")
    try:
        for folder in (*_served(flags), CACHE):
            (data_dir / folder).mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=data_dir / folder):  # one that is there may be read-only
                pass
    except OSError as error:
        raise RequestError(f"no data can be kept in {data_dir}: {error.strerror}.") from error
    if not 1 <= flags.port <= 65535:
        raise RequestError(f"port must be 1 to 65535, got {flags.port}.")
    with socket.socket(socket.AF_INET6 if ":" in flags.host else socket.AF_INET) as probe:
        if os.name == "posix":  # Windows would share a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((flags.host, flags.port))
        except OSError as error:
            raise _no_port(flags, error) from error
    return budget, kept


def _no_port(flags: argparse.Namespace, error: OSError) -> RequestError:
    return RequestError(
        f"port {flags.port} of {flags.host} cannot be used ({error.strerror}); "
        "choose others with --port or --host."
    )


if __name__ == "__main__":
    sys.exit(main())
