"""Packed layers compute what plain ones do, with the operators of oneDNN and without."""

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ldm.errors import LDMError
from ldm.inference import kernels, packed
from ldm.inference.kernels import ConvolutionKernel, LinearKernel
from ldm.inference.packed import PackedConv2d, PackedLinear
from ldm.inference.winograd import Winograd

CONVOLUTIONS = {
    "3x3": (5, 7, 3, 1, 1),
    "halving": (6, 4, 3, 2, 1),
    "halving, padded outside": (6, 4, 3, 2, 0),
    "1x1": (3, 8, 1, 1, 0),
    "wide": (192, 200, 3, 1, 1),
}


@pytest.fixture(params=["private operators", "public operators", "without oneDNN"])
def operators(request, monkeypatch):
    """With the private operators, where they are, and without; by rows, as without oneDNN."""
    if request.param != "private operators":
        monkeypatch.setattr(kernels, "can_pack", lambda dtype: False)
    if request.param == "without oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        monkeypatch.setattr(kernels, "WINDOWS_BYTES", 10_000)


def convolution(name):
    inputs, outputs, side, stride, padding = CONVOLUTIONS[name]
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, side, stride, padding)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@torch.no_grad()
def test_a_convolution(name, operators):
    plain = convolution(name)
    fast = PackedConv2d.of(plain, None)
    for size in ((9, 13), (9, 13), (4, 5), (9, 13)):  # the weights are put in order for each
        x = torch.randn(2, plain.in_channels, *size)
        want = plain(x)
        plus = torch.randn_like(want)
        torch.testing.assert_close(fast(x), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fast(x, plus=plus), want + plus, rtol=1e-5, atol=1e-5)
        if isinstance(fast._kernel, ConvolutionKernel) and fast._kernel.is_packed:
            # in the order for this shape: in another one it can take a hundred times as long
            assert fast._kernel._ordered[1][0] == x.shape


@pytest.mark.parametrize("zeros", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("name", ["3x3", "halving", "wide"])
@torch.no_grad()
def test_a_strip(name, zeros, operators):
    plain = convolution(name)
    x = torch.randn(2, plain.in_channels, 7, 13)
    want = F.conv2d(F.pad(x, (1, 1, *zeros)), plain.weight, plain.bias, plain.stride)
    fast = PackedConv2d.of(plain, None)
    torch.testing.assert_close(fast.strip(x, *zeros), want, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_added_stays_as_it_is(operators):
    plus = torch.ones(1, 7, 4, 4)
    PackedConv2d.of(convolution("3x3"), None)(torch.randn(1, 5, 4, 4), plus=plus)
    assert torch.equal(plus, torch.ones(1, 7, 4, 4))


@torch.no_grad()
def test_linear_layers_side_by_side(operators):
    torch.manual_seed(0)
    layers = [nn.Linear(6, outputs) for outputs in (4, 9)]
    x = torch.randn(2, 3, 6)
    fast = PackedLinear.of(*layers, dtype=None)
    want = torch.cat([layer(x) for layer in layers], dim=2)
    for _ in range(2):
        torch.testing.assert_close(fast(x), want)


@torch.no_grad()
def test_sums_products_and_activations_of_linear_layers(operators):
    torch.manual_seed(0)
    layer, x, other = nn.Linear(6, 4), torch.randn(2, 3, 6), torch.randn(2, 3, 4)
    before = other.clone()
    fast = PackedLinear.of(layer, dtype=None)
    torch.testing.assert_close(fast.plus(x, other), layer(x) + other)
    torch.testing.assert_close(fast.times(x, other), layer(x) * other)
    assert torch.equal(other, before)
    strewn = other.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(fast.plus(x, strewn), layer(x) + other)
    curved = PackedLinear((layer.weight,), layer.bias, None, "gelu")
    torch.testing.assert_close(curved(x), F.gelu(layer(x)))


@torch.no_grad()
def test_numbers_that_are_only_imitated_are_not_packed(monkeypatch):
    monkeypatch.setattr(kernels, "has_arithmetic", lambda dtype: dtype == torch.float32)
    plain, x = convolution("wide"), torch.randn(1, 192, 4, 4)
    half, whole = (PackedConv2d.of(plain, dtype) for dtype in (torch.bfloat16, None))
    torch.testing.assert_close(half(x.bfloat16()).float(), whole(x), rtol=0.02, atol=0.02)
    assert isinstance(whole._kernel, Winograd)
    assert isinstance(half._kernel, ConvolutionKernel)
    assert not half._kernel.is_packed
    assert not LinearKernel(torch.randn(4, 6).bfloat16()).is_packed


@pytest.mark.parametrize("name", ["3x3", "wide"])
@torch.no_grad()
def test_the_plain_weights_are_let_go(name):
    plain = convolution(name)
    fast, weight = PackedConv2d.of(plain, torch.bfloat16), weakref.ref(plain.weight.data)
    storage = weakref.ref(plain.weight.untyped_storage())
    fast(torch.randn(1, plain.in_channels, 4, 4).bfloat16())
    del plain
    gc.collect()
    assert weight() is None
    assert storage() is None


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda model: model.state_dict(), "cannot be saved"),
        (lambda model: model.half(), "can be neither converted nor moved"),
        (lambda model: model.to("cpu"), "can be neither converted nor moved"),
        (copy.deepcopy, "cannot be copied"),
    ],
)
@pytest.mark.parametrize("layer", [PackedConv2d, PackedLinear])
def test_what_would_pass_packed_weights_over_is_refused(layer, use, words):
    plain = nn.Conv2d(2, 3, 1) if layer is PackedConv2d else nn.Linear(2, 3)
    around = nn.Sequential(layer.of(plain, dtype=None), nn.BatchNorm2d(3))
    with pytest.raises(LDMError, match=rf"{words}; load a plain one with .*prepared=False\)\.$"):
        use(around)
    assert all(p.dtype == torch.float32 for p in around.parameters())


def test_a_sealed_model_refuses_before_anything_was_changed():
    encoder = nn.Sequential(nn.Embedding(4, 2), PackedLinear.of(nn.Linear(2, 3), dtype=None))
    model = nn.ModuleDict({"encoder": encoder, "classes": nn.Embedding(3, 2)})
    packed.seal(model)
    for network in (model, encoder, model["classes"]):
        for use in (nn.Module.half, copy.deepcopy, nn.Module.cpu):
            with pytest.raises(LDMError, match=r"load a plain one with"):
                use(network)
        with pytest.raises(LDMError, match="cannot be saved"):
            network.state_dict()
        with pytest.raises(LDMError, match="cannot be filled anew"):
            network.load_state_dict({}, strict=False)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        assert encoder(torch.zeros(1, dtype=torch.int64)).shape == (1, 3)


def test_the_private_operators_are_left_alone_on_arm(monkeypatch):
    """There they lead to a library that computes parts of them in plain code."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_acl_supported", lambda: True)
    assert not kernels.can_pack(torch.float32)
