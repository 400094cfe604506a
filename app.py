"""`python app.py`: flags -> studio -> page -> launch."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from pathlib import Path

DEMO_PRESET = "demo-text-to-image"


def main() -> int:
    """Start the studio and serve the page until it is interrupted; returns the exit code."""
    flags = _flags()
    data_dir = flags.data_dir.resolve()
    # Gradio and the hub read these when they are imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(data_dir / "cache")

    # imported here, after the environment is set
    from ldm.errors import LDMError  # noqa: PLC0415
    from ldm.jobs import JobQueue  # noqa: PLC0415
    from ui.app import build, launch_options  # noqa: PLC0415

    def make_studio():  # noqa: ANN202  (its type needs torch, which the page must not wait for)
        from ldm.runtime.memory import parse_bytes  # noqa: PLC0415
        from ldm.studio import Studio  # noqa: PLC0415

        budget = parse_bytes(flags.memory_budget) if flags.memory_budget else None
        return Studio(device=flags.device, memory_budget=budget, data_dir=data_dir)

    try:
        _check_port(flags.host, flags.port)
        jobs = JobQueue(make_studio)
        page = build(jobs)
    except LDMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    password = secrets.token_urlsafe(9) if flags.share else None
    page.queue(default_concurrency_limit=16).launch(
        server_name=flags.host,
        server_port=flags.port,
        share=flags.share,
        auth=("studio", password) if password else None,
        allowed_paths=[str(data_dir / "outputs")],
        prevent_thread_lock=True,
        **launch_options(),
    )
    print(f"Latent Canvas is at http://{flags.host}:{flags.port}", flush=True)
    if password:
        print(f"Shared at {page.share_url} for user studio, password {password}", flush=True)
    jobs.warm_up(DEMO_PRESET)
    page.block_thread()
    jobs.close()
    return 0


def _flags() -> argparse.Namespace:
    on_spaces = "SPACE_ID" in os.environ
    parser = argparse.ArgumentParser(description="Latent Canvas: a studio for latent diffusion")
    parser.add_argument("--host", default="0.0.0.0" if on_spaces else "127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--share", action="store_true", help="a public link, with a password")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--memory-budget", help="bytes for loaded models, like 4GiB")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="pictures and cache")
    return parser.parse_args()


def _check_port(host: str, port: int) -> None:
    from ldm.errors import RequestError  # noqa: PLC0415  (after the environment is set)

    if not 1 <= port <= 65535:
        raise RequestError(f"port must be 1 to 65535, got {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(
                f"port {port} on {host} is not free ({error.strerror}); choose another with --port."
            ) from error


if __name__ == "__main__":
    sys.exit(main())
