"""The tasks that start from a picture, a map, boxes or a class, on tiny models of each kind."""

import functools
import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ldm.canvas.estimate import facts_of
from ldm.catalog.build import build_model
from ldm.catalog.registry import list_presets, load_preset
from ldm.errors import RequestError
from ldm.events import Result
from ldm.requests import Box, ClassConditional, EncodedImage, Inpaint, Layout, Semantic, Upscale
from ldm.resolve import resolve
from ldm.tasks import RUNNERS, layout
from tests.random_weights import randomise

RNG = np.random.default_rng(0)
HOW = {"steps": 2, "seed": 3}


def picture(height: int, width: int) -> EncodedImage:
    return EncodedImage.from_array(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    """But for rounding to 8 bits: once when a hole is decoded, and again when it is joined."""
    apart = np.abs(one.astype(int) - other)
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.01
    assert (apart > 1).sum() <= 3


def grey(array: np.ndarray) -> EncodedImage:
    return EncodedImage.from_array(array.astype(np.uint8))


def thin(name: str):
    """A preset with its own shape of network at a fraction of its width."""
    preset = load_preset(name)
    about = preset.architecture
    unet = replace(
        about.unet,
        model_channels=64,
        channel_mult=(1,) * len(about.unet.channel_mult),
        num_res_blocks=1,
        num_heads=1,
        num_head_channels=-1,
        transformer_depth=min(about.unet.transformer_depth, 1),
    )
    stage = replace(about.first_stage, ch=32, ch_mult=(1,) * len(about.first_stage.ch_mult))
    stage = replace(stage, num_res_blocks=1, norm_groups=32)
    if stage.n_embed:
        stage = replace(stage, n_embed=32)
    words = about.conditioner
    if words.n_layer:
        words = replace(words, n_layer=1)
    return replace(
        preset,
        architecture=replace(about, unet=unet, first_stage=stage, conditioner=words),
        parameters=None,
    )


@functools.lru_cache(2)  # tests in a row ask for the same one
def model_of(name):
    """A thin model of a preset, without a zero: those of a new UNet would hide all that it sees."""
    return randomise(build_model(thin(name), "cpu")).requires_grad_(False)


@functools.lru_cache(2)
def facts_on(name):
    """What is measured of that model, which takes longer than a run."""
    return facts_of(model_of(name))


def events_of(request, **changes):
    """What a request tells on a thin model of its preset."""
    asked = resolve(replace(request, **changes), thin(request.preset))
    return list(RUNNERS[request.task](model_of(request.preset), asked))


def run(request, **changes):
    """The result of a request on a thin model of its preset."""
    events = events_of(request, **changes)
    assert events[-2].step == events[-2].total
    assert isinstance(events[-1], Result)
    return events[-1]


PRESETS = {
    task: [p.name for p in list_presets(tasks=[task])] for task in (*RUNNERS, "unconditional")
}
REQUESTS = {
    "inpaint": lambda name: Inpaint(
        image=picture(70, 50), mask=grey(255 * np.eye(70, 50)), preset=name, working_size=64, **HOW
    ),
    "semantic": lambda name: Semantic(label_map=grey(np.ones((70, 50))), preset=name, **HOW),
    "layout": lambda name: Layout(
        boxes=(Box("tree" if name.startswith("demo") else "7", 0.1, 0.2, 0.5, 0.9),),
        preset=name,
        width=64,
        height=64,
        **HOW,
    ),
    "upscale": lambda name: Upscale(image=picture(17, 13), preset=name, **HOW),
    "class-conditional": lambda name: ClassConditional(
        class_index=3, guidance_scale=1.0, preset=name, width=64, height=64, **HOW
    ),
    "unconditional": lambda name: ClassConditional(preset=name, width=128, height=128, **HOW),
}
SIZES = {
    "inpaint": (70, 50),
    "semantic": (70, 50),
    "upscale": (68, 52),
    "unconditional": (128, 128),
}


ELSE = {  # something else to be shown
    "inpaint": lambda request: {"image": picture(70, 50)},
    "semantic": lambda request: {"label_map": grey(np.eye(70, 50))},
    "layout": lambda request: {"boxes": (replace(request.boxes[0], right=0.8),)},
    "upscale": lambda request: {"image": picture(17, 13)},
    "class-conditional": lambda request: {"class_index": 4},
}


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in REQUESTS for name in PRESETS[task]]
)
def test_every_preset_of_a_task_runs_end_to_end(task, name, latents):
    """At a fraction of its width, on random weights: only the weights are missing."""
    request = REQUESTS[task](name)
    got = run(request)
    assert [image.shape for image in got.images] == [(*SIZES.get(task, (64, 64)), 3)]
    assert got.requests[0].seed == 3
    if task in ELSE:
        first = latents[-1]
        run(request, **ELSE[task](request))
        apart = (latents[-1] - first).abs().mean()
        assert apart > 1e-4 * first.std()  # and not by a bit if it is not seen


@pytest.mark.parametrize("task", ["layout", "class-conditional"])
def test_guidance_leads_away_from_no_boxes_and_from_any_class(task, latents):
    request = REQUESTS[task](PRESETS[task][0])
    run(request, guidance_scale=1.0)
    plain = latents[-1]
    run(request, guidance_scale=3.0)
    assert (latents[-1] - plain).abs().max() > 0.01


def test_each_picture_of_a_batch_can_be_made_alone():
    request = Semantic(label_map=grey(np.zeros((32, 32))), count=2, **HOW)
    both = run(request)
    alone = run(both.requests[1])
    assert np.abs(alone.images[0].astype(int) - both.images[1]).max() <= 1


def test_where_no_names_are_published_a_box_is_labelled_with_a_number():
    model = SimpleNamespace(classes=(), tokenizer=SimpleNamespace(none=180))
    assert layout._number(model, Box("179", 0, 0, 1, 1)) == 179
    with pytest.raises(RequestError, match="a number from 0 to 179; got '180'"):
        layout._number(model, Box("180", 0, 0, 1, 1))


def test_two_passes_make_sixteen_times_the_size_with_progress_over_all():
    got = run(Upscale(image=picture(3, 5), passes=2, count=2, **HOW))
    assert [image.shape for image in got.images] == [(48, 80, 3)] * 2
    alone = run(got.requests[1])  # of its own seed in both passes
    assert np.abs(alone.images[0].astype(int) - got.images[1]).max() <= 1


def test_the_progress_of_two_passes_is_one_that_only_grows():
    request = Upscale(image=picture(3, 5), passes=2, count=2, **HOW)
    model = build_model(thin(request.preset), "cpu").requires_grad_(False)
    request = resolve(request, load_preset(request.preset))
    *progress, _ = RUNNERS["upscale"](model, request)
    steps = [event.step for event in progress if event.total]
    assert steps == sorted(steps)
    assert {event.total for event in progress if event.total} == {3 * request.steps}
    assert (steps[0], steps[-1]) == (1, 3 * request.steps)


@pytest.mark.parametrize(("side", "steps"), [(256, 2 + 1), (128, 2)])
def test_a_large_hole_is_begun_at_the_trained_size(side, steps):
    preset = thin("demo-inpaint")
    mask = grey(np.full((side, side), 255))
    request = resolve(Inpaint(image=picture(side, side), mask=mask, **HOW), preset)
    assert request.coarse == preset.defaults.coarse > 0
    *_, last, made = RUNNERS["inpaint"](model_of("demo-inpaint"), request)
    assert (last.step, last.total) == (steps, steps)
    assert made.images[0].shape == (side, side, 3)


def test_a_class_of_none_is_the_null_class():
    got = run(ClassConditional(width=32, height=32, **HOW))
    assert got.requests[0].class_index is None


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Semantic(label_map=grey(np.full((32, 32), 15)), **HOW), "numbers 0 to 14, got 15"),
        (Layout(boxes=(Box("cow", 0, 0, 1, 1),), **HOW), "a box must be one of sun, .*got 'cow'"),
        (Layout(boxes=(Box("tree", 0, 0, 1, 1),) * 21, **HOW), "at most 20 for this model, got 21"),
        (ClassConditional(class_index=16, **HOW), "class_index must be 0 to 15"),
        (ClassConditional(preset="cin256", **HOW), "must name a class"),
        (ClassConditional(preset="ffhq256", class_index=3, **HOW), "knows no classes, got 3"),
        (ClassConditional(preset="cin256", class_index=1, guidance_scale=3.0, **HOW), "must be 1"),
        (
            Inpaint(image=picture(32, 32), mask=grey(np.zeros((32, 32))), **HOW),
            "nothing is left of it",
        ),
        (
            Inpaint(image=picture(32, 32), mask=grey(np.eye(32)), **HOW),
            "its brightest value is 1, and 128 to 255 are marked",
        ),
        (
            Inpaint(image=picture(32, 32), mask=grey(255 * np.eye(32)), mask_grow=-4, **HOW),
            "nothing is left of it",
        ),
    ],
)
def test_what_a_model_cannot_do_is_one_sentence(request_, says):
    with pytest.raises(RequestError, match=says):
        run(request_)


def as_file(path, image, **options):
    image.save(path, **options)
    return path


def test_pictures_of_all_kinds_are_read_as_a_person_would_expect(tmp_path):
    red = Image.new("RGB", (4, 2), (255, 0, 0))
    cmyk = as_file(tmp_path / "c.jpg", red.convert("CMYK"))
    assert EncodedImage.from_file(cmyk).mode == "RGB"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = EncodedImage.from_file(as_file(tmp_path / "e.jpg", red, exif=exif))
    assert turned.size == (2, 4)
    clear = EncodedImage.from_file(as_file(tmp_path / "a.png", Image.new("RGBA", (3, 3))))
    assert (clear.array() == 255).all()
    blue = Image.new("RGB", (4, 2), (0, 0, 255))
    moving = as_file(tmp_path / "g.gif", red, save_all=True, append_images=[blue])
    assert EncodedImage.from_file(moving).array()[0, 0].tolist() == [255, 0, 0]


def test_files_that_are_no_pictures_are_refused_in_a_sentence(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("hello")
    with pytest.raises(RequestError, match=r"notes\.png is no readable picture"):
        EncodedImage.from_file(text)
    with pytest.raises(RequestError, match="8-bit PNG"):
        EncodedImage(b"GIF89a")
    out = io.BytesIO()
    Image.new("L", (3, 3)).save(out, "PNG")
    damaged = EncodedImage(out.getvalue()[:40])
    with pytest.raises(RequestError, match="damaged"):
        damaged.array()
    with pytest.raises(RequestError, match="data URL"):
        EncodedImage.from_data_url("data:image/png;base64,???")


def test_label_maps_keep_the_indices_of_a_palette(tmp_path):
    indexed = Image.fromarray(np.array([[3, 1], [0, 2]], np.uint8), "L").convert("P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    got = EncodedImage.labels_from_file(as_file(tmp_path / "m.png", indexed))
    assert got.array().tolist() == [[3, 1], [0, 2]]
    colour = as_file(tmp_path / "rgb.png", Image.new("RGB", (2, 2)))
    with pytest.raises(RequestError, match="one channel of class numbers, got RGB"):
        EncodedImage.labels_from_file(colour)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Inpaint(image=picture(4, 4)), "mask must say what to make anew"),
        (lambda: Inpaint(image=picture(4, 4), mask=grey(np.ones((4, 5)))), "as large as the pict"),
        (lambda: Semantic(label_map=picture(4, 4)), "one channel of class numbers"),
        (lambda: Layout(boxes=()), "at least one box"),
        (lambda: Box("tree", 0.5, 0, 0.5, 1), "has no area"),
        (lambda: Box("tree", -0.1, 0, 0.5, 1), "must lie on the canvas"),
        (lambda: Box("", 0, 0, 0.5, 1), "needs a class name"),
        (
            lambda: Upscale(image=picture(2, 1100), passes=2),
            "image must be at most 0.15 megapixels and 1024 px a side for 16 times the size, "
            "got 1100 x 2 px; 1024 x 1 would do",
        ),
        (
            lambda: Upscale(image=picture(400, 400), passes=2),
            "got 400 x 400 px; 395 x 395 would do",
        ),
        (
            lambda: Inpaint(image=grey(np.zeros((1500, 20_000))), outpaint_top=1000),
            "outpaint_top must leave the canvas at most 40 megapixels, got 20000 x 2500 px",
        ),
        (
            lambda: Semantic(label_map=grey(np.ones((2, 16385)))),
            "label_map must be at most 40 megapixels and .*, got 16385 x 2 px; 16384 x 2 would do",
        ),
        (
            lambda: Layout(boxes=(Box("tree", 0, 0, 1, 1),), width=8192, height=8192),
            "width and height must be at most 40 megapixels",
        ),
        (
            lambda: ClassConditional(width=8192, height=8192),
            "got 8192 x 8192 px; 6272 x 6272 would",
        ),
        (
            lambda: Upscale(image="cat.png"),
            "image must be a picture: the Path of its file, .*, got 'cat.png'.",
        ),
    ],
)
def test_bad_requests_are_refused(make, says):
    with pytest.raises(RequestError, match=says):
        make()


def test_a_long_picture_is_filled_at_its_own_size():
    long = picture(100, 20_000)
    assert Inpaint(image=long, mask=grey(np.ones((100, 20_000)))).image.width == 20_000
    assert Inpaint(image=long, outpaint_left=64).outpaint == (64, 0, 0, 0)
