"""What several tests need."""

import copy
import functools
import os
import struct
import zlib
from pathlib import Path

import pytest

from ldm.jobs import JobQueue
from tests.browser import ARGUMENTS, CHROMIUM, open_page, running_app, visit
from tests.gate import WAIT, FakeStudio, Gate

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # each waits for its own threads only
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # as app.py does


@pytest.fixture
def png_of_size(tmp_path):
    """(width, height) -> path of a PNG that claims this size and holds next to no pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    def make(width, height):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
        path = tmp_path / "big.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_model():
    """Text to image, a million random weights; 2 px per latent cell, sides of 4 px multiples."""
    import torch  # noqa: PLC0415  (not every test needs it)

    from ldm.catalog.architecture import (  # noqa: PLC0415
        Architecture,
        ConditionerConfig,
        FirstStageConfig,
        UNetConfig,
    )
    from ldm.catalog.build import build_model  # noqa: PLC0415
    from ldm.catalog.compvis import PRESETS_DIR  # noqa: PLC0415

    architecture = Architecture(
        first_stage=FirstStageConfig("kl", ch=8, ch_mult=(1, 2), num_res_blocks=1, norm_groups=4),
        unet=UNetConfig(
            in_channels=3,
            out_channels=3,
            model_channels=32,
            num_res_blocks=1,
            attention_resolutions=(2,),
            channel_mult=(1, 2),
            num_heads=2,
            use_spatial_transformer=True,
            context_dim=16,
        ),
        conditioner=ConditionerConfig(
            "text",
            n_embed=16,
            n_layer=1,
            vocab_size=128,
            max_seq_len=16,
            vocabulary=PRESETS_DIR / "demo" / "vocabulary.txt",
        ),
        conditioning="crossattn",
    )
    model = build_model(architecture, device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


@pytest.fixture(scope="session")
def measured(tiny_model):
    """What `calibration_of` measures of the tiny model, once: it takes longer than the runs."""
    from ldm.canvas.estimate import calibration_of  # noqa: PLC0415  (not every test needs torch)

    @functools.cache
    def once(trained_size):
        model = copy.copy(tiny_model)
        model.trained_size = trained_size
        return calibration_of(model)

    return lambda model, same=None: copy.deepcopy(once(model.trained_size))


@pytest.fixture
def trained_small(tiny_model):
    """The tiny model as if it had been trained at 32 x 32 px."""
    small = copy.copy(tiny_model)
    small.trained_size = (32, 32)
    return small


@pytest.fixture(scope="session")
def randomise():
    """Gives every weight of a network a value."""
    from tests.random_weights import randomise  # noqa: PLC0415  (torch: not every test needs it)

    return randomise


@pytest.fixture
def latents(monkeypatch):
    """All that models decode: what a network made, before a task makes up for what it did not."""
    from ldm.latent_diffusion import LatentDiffusion  # noqa: PLC0415  (not every test needs torch)

    seen, decode = [], LatentDiffusion.decode
    monkeypatch.setattr(LatentDiffusion, "decode", lambda m, z: seen.append(z) or decode(m, z))
    return seen


@pytest.fixture(scope="session")
def units():
    """Single operations as the authors' code computes them: name -> tensor."""
    from safetensors.torch import load_file  # noqa: PLC0415  (not every test needs it)

    return load_file(Path(__file__).parent / "reference" / "units.safetensors")


@pytest.fixture
def queue():
    """A queue whose studio runs functions as if they were requests."""
    queue = JobQueue(FakeStudio)
    yield queue
    queue.close(WAIT)


@pytest.fixture
def busy(queue):
    """A queue whose worker is inside a job that waits."""
    gate = Gate()
    gate.id = queue.submit(gate)
    assert gate.started.wait(WAIT)
    yield gate
    gate.let(10_000)


@pytest.fixture
def made(tmp_path, trained_small, measured, monkeypatch):
    """A studio on a tiny model, to which every run is worth to be kept."""
    from ldm import studio  # noqa: PLC0415
    from ldm.runtime.manager import ModelManager  # noqa: PLC0415
    from ldm.tasks import bookmark  # noqa: PLC0415

    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    monkeypatch.setattr(studio.machine, "calibration_of", measured)
    monkeypatch.setattr(bookmark, "WORTH", 0)
    about = {"load": lambda preset: trained_small, "size_of": lambda preset: 1}
    manager = ModelManager(device="cpu", memory_budget=2**30, **about)
    return studio.Studio(data_dir=tmp_path, manager=manager)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where that app keeps its pictures."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny(tiny_model, measured, monkeypatch):
    """Let the studio work with the tiny model; gives the flags of every manager it makes."""
    from ldm import studio  # noqa: PLC0415
    from ldm.runtime.manager import ModelManager  # noqa: PLC0415

    made = []

    def manager(**flags):
        made.append(flags)
        budget = flags["memory_budget"] or 2**30
        return ModelManager(
            device="cpu", memory_budget=budget, load=lambda _: tiny_model, size_of=lambda _: 1
        )

    monkeypatch.setattr(studio, "ModelManager", manager)
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    monkeypatch.setattr(studio.machine, "calibration_of", measured)
    return made


@pytest.fixture(scope="session")
def url(data_dir):
    """The app as a person starts it, on a free port."""
    with running_app(data_dir) as address:
        yield address


@pytest.fixture(scope="session")
def chromium():
    """A real browser's window, for `visit`."""
    from playwright.sync_api import (  # noqa: PLC0415  (a browser may be missing)
        expect,
        sync_playwright,
    )

    expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        # what moves by itself is drawn by the processor here, and there is nothing to see in it
        about = {"viewport": {"width": 1280, "height": 1000}, "reduced_motion": "reduce"}
        context = browser.new_context(**about)
        context.set_default_timeout(30_000)
        yield context
        browser.close()


@pytest.fixture
def page(request, chromium, url):
    """A fresh visitor of the app, at the address that the test `opens`, by default the page's own;
    None: opened by the test."""
    opens = request.node.get_closest_marker("opens")
    address = opens.args[0] if opens else "/"
    with visit(chromium, url) as page:
        if address is not None:
            open_page(page, url + address)
        yield page


@pytest.fixture
def small_blocks(monkeypatch):
    """Of files of maps: what is forgotten too early is missed then, on small canvases too."""
    monkeypatch.setattr("ldm.canvas.stores.BLOCK_BYTES", 512)
