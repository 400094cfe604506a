import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.schedule import NoiseSchedule
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.conditioners import ClassEmbedder, SpatialRescaler
from ldm.models.first_stage import DiagonalGaussian, IdentityFirstStage

SCHEDULE = NoiseSchedule.scaled_linear(0.0015, 0.0195, 1000)


class Recorder(nn.Module):
    """A UNet that returns a fixed share of its first channels and notes what it was given."""

    factor, out_channels = 2, 3

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t, context=None, y=None):
        self.seen = x, t, context, y
        return self.gain * x[:, :3]


class Quarter(nn.Module):
    """A first stage of factor 4 that keeps every fourth pixel; KL has a deviation of 2."""

    factor = 4

    def __init__(self, kl=False):
        super().__init__()
        self.kl = kl

    def encode(self, image):
        mean = image[:, :, ::4, ::4]
        spread = torch.full_like(mean, 2 * torch.log(torch.tensor(2.0)).item())
        return DiagonalGaussian(torch.cat([mean, spread], dim=1)) if self.kl else mean

    def decode(self, z):
        return z.repeat_interleave(4, 2).repeat_interleave(4, 3)


def model(**changes):
    parts = {"unet": Recorder(), "first_stage": Quarter(), "schedule": SCHEDULE}
    return LatentDiffusion(**(parts | changes))


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_latents_of_a_picture_have_a_shape():
    assert model().latent_shape(64, 24) == (3, 16, 6)
    for size in ((64, 20), (60, 24), (-16, 16), (16, 0)):
        says = f"sides must be multiples of 8 px, got {size[0]} x {size[1]}"
        with pytest.raises(ValueError, match=says):
            model().latent_shape(*size)


def test_pictures_and_latents_in_float32_are_converted_to_what_the_model_computes_in():
    half = model(scale_factor=2.0).bfloat16()
    image = normal(1, 3, 8, 8)
    assert half.encode(image).equal(2 * image[:, :, ::4, ::4].bfloat16())
    assert half.decode(normal(1, 3, 2, 2)).dtype == torch.bfloat16
    with pytest.raises(
        TypeError, match=r"floating-point in \[-1, 1\], got torch.uint8; ldm.images"
    ):
        half.encode(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_sizes():
    about = model()
    assert (about.factor, about.size_multiple, about.latent_channels) == (4, 8, 3)
    assert about.dtype == torch.float32
    assert about.bfloat16().dtype == torch.bfloat16
    assert model(first_stage=IdentityFirstStage()).size_multiple == 2


def test_latents_are_scaled_codes_and_decode_undoes_it():
    image = normal(2, 3, 8, 12)
    scaled = model(scale_factor=0.25)
    latents = scaled.encode(image)
    assert torch.equal(latents, 0.25 * image[:, :, ::4, ::4])
    assert torch.equal(scaled.encode(scaled.decode(latents)), latents)


def test_a_posterior_gives_its_mode_or_a_scaled_sample():
    image, noise = normal(1, 3, 8, 8), normal(1, 3, 2, 2)
    scaled = model(first_stage=Quarter(kl=True), scale_factor=0.25)
    mode = image[:, :, ::4, ::4]
    assert torch.allclose(scaled.encode(image), 0.25 * mode)
    assert torch.allclose(scaled.encode(image, noise), 0.25 * (mode + 2 * noise))


@torch.no_grad()
def test_conditions():
    ids = torch.tensor([1, 0])
    classes = ClassEmbedder(n_classes=3, embed_dim=4)
    by_class = model(conditioner=classes, conditioning="crossattn").condition(ids)
    assert torch.equal(by_class.context, classes(ids))
    assert by_class.concat is None
    picture = normal(1, 3, 2, 2)
    assert torch.equal(model(conditioning="concat").condition(picture).concat, picture)
    assert model().condition(None) == Conditioning()


@pytest.mark.parametrize("inputs", ["anything", ["a lake"], torch.tensor([3])], ids=str)
def test_a_model_without_conditions_takes_none(inputs):
    """It made any picture, whatever was asked for."""
    says = f"has no conditions: inputs must be None, got {type(inputs).__name__}"
    with pytest.raises(TypeError, match=says):
        model().condition(inputs)


@torch.no_grad()
def test_sentences_pass_the_tokenizer_and_tensors_do_not():
    def tokenizer(sentences):
        return torch.tensor([len(sentence) for sentence in sentences])

    classes = ClassEmbedder(n_classes=9, embed_dim=4)
    arguments = {"conditioner": classes, "conditioning": "crossattn"}
    text = model(tokenizer=tokenizer, **arguments)
    expected = text.condition(torch.tensor([3, 0])).context
    assert torch.equal(text.condition(["sun", ""]).context, expected)
    with pytest.raises(TypeError, match="takes tensors, got list"):
        model(**arguments).condition(["sun"])


def test_concatenated_channels_follow_the_noisy_latents():
    x, extra, t = normal(2, 3, 4, 4), normal(2, 2, 4, 4) + 9, torch.tensor([3, 4])
    cond = Conditioning(concat=extra, context=normal(2, 5, 6), label=t)
    recorded = model()
    eps = recorded.denoise(x, t, cond)
    given, time, context, label = recorded.unet.seen
    assert torch.equal(given, torch.cat([x, extra], dim=1))
    assert torch.equal(time, t)
    assert context is cond.context
    assert label is t
    assert torch.equal(eps, 0.5 * x)


def test_copies_that_differ_in_their_context_go_to_the_network_once():
    x, t = normal(1, 3, 4, 4).repeat(2, 1, 1, 1), torch.tensor([3, 3])
    context = normal(2, 5, 6)
    about = model()
    about.unet.forward = lambda given, steps, **_: seen.append((len(given), len(steps))) or x
    seen = []
    for ways in (
        {"context": context},
        {"context": context, "concat": x},
        {"context": context, "concat": x, "concat_is_shared": True},
        {"context": context, "label": t},
        {},
    ):
        assert about.denoise(x, t, Conditioning(copies=2, **ways)).shape == x.shape
    assert seen == [(1, 1), (2, 2), (1, 1), (2, 2), (2, 2)]


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_denoise_answers_with_the_noise(prediction):
    x0, noise, t = normal(2, 3, 4, 4), normal(2, 3, 4, 4).flip(0), torch.tensor([5, 900])
    targets = {"eps": noise, "x0": x0, "v": SCHEDULE.velocity(x0, t, noise)}
    about = model(prediction=prediction)
    about.unet.forward = lambda *_, **__: targets[prediction]
    x_t = SCHEDULE.q_sample(x0, t, noise)
    assert torch.allclose(about.denoise(x_t, t, Conditioning()), noise, atol=1e-4)


def test_batches_that_do_not_fit_are_an_error():
    about, x = model(), normal(1, 3, 4, 4)
    with pytest.raises(ValueError, match="2 conditions do not go with 1 pictures"):
        about.denoise(x, 3, Conditioning(context=normal(2, 5, 8)))


@pytest.mark.parametrize("t", [-5, 1000, torch.tensor([-5])], ids=str)
def test_time_steps_outside_of_the_schedule_are_an_error(t):
    with pytest.raises(ValueError, match=r"time steps must be in 0\.\.999, got"):
        model().denoise(normal(1, 3, 4, 4), t, Conditioning())


def test_one_sentence_is_not_its_letters():
    about = model(conditioning="crossattn", tokenizer=lambda texts: torch.zeros(len(texts), 3))
    with pytest.raises(TypeError, match="sentences must be a list, got 'a lake'"):
        about.condition("a lake")


def test_the_network_computes_in_its_own_type_and_the_sampler_in_the_latents():
    half = model().bfloat16()
    x = normal(1, 3, 4, 4)
    eps = half.denoise(x, torch.tensor([3]), Conditioning(concat=x))
    assert half.unet.seen[0].dtype == torch.bfloat16
    assert eps.dtype == torch.float32


@torch.no_grad()
def test_the_hole_is_black_and_marked(units):
    about = model(scale_factor=0.25, conditioning="concat")
    image, mask = normal(1, 3, 24, 40).clamp(-1, 1), (units["mask_resize/x"] > 0.5).float()
    concat = about.condition_hole(image, mask).concat
    assert concat.shape == (1, 4, 6, 10)
    hole = mask[:, :, ::4, ::4].bool()
    expected = image[:, :, ::4, ::4].masked_fill(hole, -1)  # a code without the scale factor
    assert torch.equal(concat[:, :3], expected)
    assert torch.equal(concat[:, 3:], 2.0 * hole - 1)
    assert torch.equal(about.mask_in(concat), hole.float())
    with pytest.raises(ValueError, match="0 and 1 only"):
        about.condition_hole(image, mask - 0.5)


@torch.no_grad()
def test_stable_diffusion_sees_a_grey_hole_behind_its_mask(units):
    about = model(scale_factor=0.25, conditioning="hybrid", grey_holes=True)
    image, mask = normal(1, 3, 24, 40).clamp(-1, 1), (units["mask_resize/x"] > 0.5).float()
    concat = about.condition_hole(image, mask).concat
    hole = mask[:, :, ::4, ::4].bool()
    assert torch.equal(concat[:, :1], hole.float())
    assert torch.equal(about.mask_in(concat), hole.float())
    assert torch.equal(concat[:, 1:], 0.25 * image[:, :, ::4, ::4].masked_fill(hole, 0))
    assert not about.centres_on_guess


@torch.no_grad()
def test_preview_is_the_decoder_as_far_as_it_is_linear():
    about = model(scale_factor=0.5)
    latents = normal(2, 3, 4, 6)
    expected = about.decode(latents)[:, :, ::4, ::4]
    enlarged = F.interpolate(expected, scale_factor=4, mode="bicubic")
    assert torch.allclose(about.preview(latents, 24), enlarged, atol=1e-4)
    assert about.preview(latents, 12).shape == (2, 3, 8, 12)
    assert about.preview(latents, 1000).shape == (2, 3, 16, 24)


@torch.no_grad()
def test_a_first_stage_with_a_small_decoder_draws_previews_with_it():
    about, seen = model(scale_factor=0.5), []
    about.preview_decoder = lambda z: seen.append(z) or F.interpolate(z, scale_factor=4)
    latents = normal(2, 3, 4, 6)
    assert torch.equal(about.preview(latents, 24), F.interpolate(2 * latents, scale_factor=4))
    assert torch.equal(seen.pop(), 2 * latents)  # as the first stage gives them
    assert about.preview(latents.bfloat16(), 12).shape == (2, 3, 8, 12)
    assert seen.pop().shape == (2, 3, 2, 3)  # it does not draw what is not shown
    assert about.preview(latents, 7).shape == (2, 3, 5, 7)
    assert about._preview is None


@pytest.mark.parametrize("classes", [15, 182])
def test_a_map_is_conditioned_strip_by_strip_as_it_is_whole(classes, monkeypatch):
    rescaler = SpatialRescaler(n_stages=2, in_channels=classes, out_channels=3)
    model = LatentDiffusion(
        unet=Recorder(), first_stage=Quarter(), conditioner=rescaler, schedule=SCHEDULE,
        conditioning="concat",
    ).requires_grad_(False)  # fmt: skip
    labels = torch.randint(0, classes, (2, 44, 20), dtype=torch.uint8)
    by_torch = F.one_hot(labels.long(), classes).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(model.condition_map(labels).concat, rescaler(by_torch))
    heights = []
    monkeypatch.setattr("ldm.latent_diffusion.STRIP_VALUES", classes * 2 * 20 * 8)
    rescaler.register_forward_hook(lambda _, given, __: heights.append(given[0].shape[2]))
    torch.testing.assert_close(model.condition_map(labels).concat, rescaler(by_torch))
    assert heights == [8, 8, 8, 8, 8, 4, 44]
