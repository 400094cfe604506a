"""The verbs of the command line that look into one picture: `rate-distortion`, `reconstruct`."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ldm.catalog.registry import load_preset
from ldm.errors import RequestError
from ldm.images import EncodedImage
from ldm.images.sheet import check_file, check_picture_file
from ldm.outputs import metadata
from ldm.outputs.rate_distortion import COLUMNS, MESSAGES, RateCurve
from ldm.outputs.titles import title
from ldm.requests import PRESET_TASKS, ClassConditional, TextToImage, takes_start_image
from ldm.runtime.device import PRECISIONS

FIRST_STAGE = "demo-kl-f4"


def add_rate(verbs: Any) -> None:
    """Add `rate-distortion PICTURE`."""
    text = "tell how many bytes say how much of a picture, with and without its prompt"
    parser = verbs.add_parser("rate-distortion", help=text, description=text)
    parser.set_defaults(run=_rate)
    about = "a picture made here, coded under its own request; or any, with a --prompt"
    parser.add_argument("picture", type=Path, metavar="PICTURE", help=about)
    parser.add_argument("--prompt", help="a prompt that the receiver knows")
    about = "another model; one that needs no prompt takes any picture"
    parser.add_argument("--preset", help=about)
    parser.add_argument("--seed", type=int, default=0, help="draws the messages (default: 0)")
    about = f"messages that the picture is sent in, at most (default: {MESSAGES})"
    parser.add_argument("--messages", type=int, default=MESSAGES, help=about)
    about = "write all points to a file"
    parser.add_argument("--csv", type=Path, metavar="FILE", help=about)
    about = "write what is known on the way as a picture"
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=about)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--memory-budget", help="for loaded models, like 4GiB")
    parser.add_argument("--canvas-budget", help="for what they compute, like 1GiB")
    parser.add_argument("--json", action="store_true", help="print all points as JSON")


def add_reconstruct(verbs: Any) -> None:
    """Add `reconstruct PICTURE`."""
    text = "encode a picture to latents and decode it, and tell what was lost"
    parser = verbs.add_parser("reconstruct", help=text, description=text)
    parser.set_defaults(run=_reconstruct)
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="any picture")
    about = f"a first stage, or a model that has one (default: {FIRST_STAGE})"
    parser.add_argument("--preset", default=FIRST_STAGE, help=about)
    about = "write the picture, the decoded one, their difference and the latents as a picture"
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=about)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _reconstruct(arguments: Any) -> int:
    from ldm.evaluation.reconstruction import reconstruct  # noqa: PLC0415  (imports torch)

    if arguments.sheet is not None:
        check_picture_file(arguments.sheet)
    made = reconstruct(arguments.preset, EncodedImage.from_file(arguments.picture))
    if arguments.sheet is not None:
        page = made.sheet(f"{arguments.picture.name} · {load_preset(arguments.preset).title}")
        Image.fromarray(page).save(arguments.sheet)
    shape = [*made.latents.shape]
    if arguments.json:
        about = {"psnr": made.psnr, "ssim": made.ssim, "latents": shape, "fewer": made.fewer}
        print(json.dumps(about))
        return 0
    print(f"PSNR     {made.psnr:.2f} dB")
    print(f"SSIM     {made.ssim:.3f}")
    print(f"latents  {' x '.join(map(str, shape))}, {made.fewer:g} times fewer numbers")
    return 0


def _rate(arguments: Any) -> int:
    from ldm.studio import Studio  # noqa: PLC0415  (heavy; wrong flags are reported first)

    request = _request(arguments)
    if arguments.csv is not None:
        check_file(arguments.csv)
    if arguments.sheet is not None:
        check_picture_file(arguments.sheet)
    studio = Studio(
        device=arguments.device,
        memory_budget=arguments.memory_budget,
        canvas_budget=arguments.canvas_budget,
        precision=arguments.precision,
    )
    for event in studio.rate_distortion(request, arguments.messages):
        if isinstance(event, RateCurve):
            curve = event
        elif sys.stderr.isatty():
            print(f"\r{event.stage} {event.step}/{event.total}  ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.csv is not None:
        arguments.csv.write_text(curve.to_csv(), "utf-8")
    if arguments.sheet is not None:
        page = curve.sheet(request.image.array(), title(request))
        Image.fromarray(page).save(arguments.sheet)
    _report(curve, as_json=arguments.json)
    return 0


def _request(arguments: Any) -> Any:
    """Return the request that the picture is coded under, with the picture as its start.

    Raises:
        RequestError: If the file is no picture, or has no request that could be used.
    """
    image = EncodedImage.from_file(arguments.picture)
    asked = {"prompt": arguments.prompt, "preset": arguments.preset}
    asked = {name: value for name, value in asked.items() if value is not None}
    asked |= {"image": image, "seed": arguments.seed}
    try:
        made = _made(arguments.picture, arguments.preset)
    except RequestError as error:
        made, why = None, str(error).removesuffix(".")
    if made is not None and asked.keys() <= {field.name for field in fields(made)}:
        return replace(made, **asked)
    if arguments.prompt is not None:
        return _foreign(TextToImage(**asked))
    if made is None and _needs_nothing(arguments.preset):
        return _foreign(ClassConditional(**asked))
    raise RequestError(f"{why}; with --prompt any picture is coded.")


def _made(path: Path, preset: str | None) -> Any:
    """Return the request of a picture that was made here.

    Raises:
        RequestError: If there is none, its task starts from no picture, or `preset` does not do it.
    """
    record = metadata.load(path)
    if record.frames or record.compared:
        raise RequestError(f"{path.name} is a sheet of pictures.")
    if not takes_start_image(type(record.request)):
        raise RequestError(f"{path.name} was made by {record.request.task}.")
    if preset is not None and load_preset(preset).task not in PRESET_TASKS[record.request.task]:
        raise RequestError(f"{path.name} was made by {record.request.task}, unlike {preset}.")
    return record.request


def _needs_nothing(preset: str | None) -> bool:
    """Whether a preset draws pictures without being told what."""
    return preset is not None and load_preset(preset).task in PRESET_TASKS["class-conditional"]


def _foreign(request: Any) -> Any:
    """Return the request at the size of its picture, in whole multiples of what the model takes."""
    multiple = load_preset(request.preset).size_multiple
    sides = {name: getattr(request.image, name) // multiple for name in ("width", "height")}
    return replace(request, **{name: max(1, count) * multiple for name, count in sides.items()})


def _report(curve: RateCurve, *, as_json: bool) -> None:
    """Print the points as JSON, or a table of some of them."""
    if as_json:
        points = [dict(zip(COLUMNS, row, strict=True)) for row in curve.rows(curve.points)]
        print(json.dumps({"pixels": curve.pixels, "points": points}))
        return
    print(f"{'t':>5} {'bytes':>9} {'bit/px':>8} {'RMSE':>6} {'bytes without condition':>24}")
    for t, sent, share, error, without in curve.rows(curve.shown):
        other = "-" if without is None else f"{without:.1f}"
        print(f"{t:>5} {sent:>9.1f} {share:>8.4f} {error:>6.1f} {other:>24}")
