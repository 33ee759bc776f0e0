"""The fused operator with every CPU kernel, compared with a plain implementation of the paper's equations."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.losses import attention_divergence
from avcil.nn import fused_attention
from avcil.nn.attention import guided_attention
from avcil.nn.fused_attention import attention_maps, projected_attention
from avcil.nn.kernels import choice, native, operators
from avcil.nn.token_rows import TokenRows
from avcil.nn.workspace import Workspace

needs_compiler = pytest.mark.skipif(bool(native.unavailable_reason()), reason="there is no C compiler")


@pytest.fixture(params=[operators, pytest.param(native, marks=needs_compiler)], ids=["operators", "native"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(choice, "choose", lambda tokens, dtype: request.param)
    return request.param


def draw(clips, slices, spatial, width, *, old=0, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(clips + 10 * slices + 100 * spatial + 1000 * width)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tokens = normal(clips, slices, spatial, width).to(dtype)
    weight = (scale * normal(width, width)).to(dtype).requires_grad_()
    bias, query = (
        normal(width).to(dtype).requires_grad_(),
        normal(clips, width).tanh().to(dtype).requires_grad_(),
    )
    old_log = normal(old, slices, spatial, width).log_softmax(dim=2).to(dtype)
    return tokens, weight, bias, query, old_log


def by_equations(tokens, weight, bias, query, old_log):
    attended, spatial_log, temporal_log = guided_attention(
        tokens, torch.tanh(tokens @ weight.T + bias), query
    )
    logs = zip(spatial_log[len(tokens) - len(old_log) :], old_log, strict=True)
    divergence = [attention_divergence(new[None], old[None]) for new, old in logs]
    return attended, temporal_log, torch.stack(divergence) if divergence else attended.new_zeros(0)


def values_and_gradients(function, inputs):
    outputs = tuple(function(*inputs))
    pull = torch.Generator().manual_seed(1)
    loss = sum(
        (out * torch.randn(out.shape, generator=pull, dtype=torch.float64).to(out)).sum() for out in outputs
    )
    return [*(out.detach() for out in outputs), *torch.autograd.grad(loss, inputs[1:4])]


def fused(tokens, weight, bias, query, old_log):
    return projected_attention(tokens, weight, bias, query, old_spatial_log=old_log)


def compare(inputs, *, rtol, atol):
    ours, oracle = (values_and_gradients(function, inputs) for function in (fused, by_equations))
    for one, other in zip(ours, oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("shape", [(7, 3, 4, 5), (1, 1, 1, 2), (5, 2, 9, 19)])
@pytest.mark.parametrize("block_clips", [1, 2, 100])
@pytest.mark.parametrize("old", [0, 1, "all"])
def test_equals_the_reference_implementation(shape, block_clips, old, kernel, monkeypatch):
    """Values and gradients agree to 1e-10, for any block size and any clips with old maps."""
    monkeypatch.setattr(fused_attention, "BLOCK_ROWS", block_clips * shape[1] * shape[2])
    compare(draw(*shape, old=shape[0] if old == "all" else old), rtol=1e-10, atol=1e-11)


@settings(deadline=None, max_examples=30)
@given(
    clips=st.integers(1, 4),
    slices=st.integers(1, 3),
    spatial=st.integers(1, 20),
    width=st.integers(1, 40),
    scale=st.floats(0, 30),
    data=st.data(),
)
def test_all_shapes(clips, slices, spatial, width, scale, data):
    """The selected kernel agrees for shapes below or not a multiple of the vector width, and for large keys."""
    old = data.draw(st.integers(0, clips))
    compare(draw(clips, slices, spatial, width, old=old, scale=scale), rtol=1e-9, atol=1e-9)


def test_single_precision(kernel):
    """In float32 it differs from float64 by a few units in the last place."""
    exact = values_and_gradients(by_equations, draw(3, 2, 49, 32, old=2))
    result = values_and_gradients(fused, draw(3, 2, 49, 32, old=2, dtype=torch.float32))
    for value, best in zip(result, exact, strict=True):
        assert (value - best).abs().max() < 2e-6 * best.abs().max()


def test_gradient_by_finite_differences(kernel):
    """The manual backward pass equals the derivative of the forward pass, with the divergence."""
    tokens, *rest, old_log = draw(3, 2, 3, 4, old=2)
    assert torch.autograd.gradcheck(lambda *x: tuple(fused(tokens, *x, old_log)), rest)


def test_unchanged_model_has_zero_divergence(kernel):
    """The divergence from its own maps and its gradient are zero."""
    *inputs, _ = draw(2, 3, 50, 20)
    own = attention_maps(*inputs).spatial_log.detach()
    divergence = fused(*inputs, own).spatial_divergence
    assert divergence.abs().max() < 1e-11
    assert torch.autograd.grad(divergence.sum(), inputs[1])[0].abs().max() < 1e-11


def test_maps_equal_the_reference_implementation(monkeypatch):
    """Maps computed in blocks equal those of the equations."""
    *inputs, _ = draw(5, 2, 3, 4)
    monkeypatch.setattr(fused_attention, "BLOCK_ROWS", 12)
    tokens, weight, bias, query = inputs
    oracle = guided_attention(tokens, torch.tanh(tokens @ weight.T + bias), query)
    for one, other in zip(attention_maps(*inputs), oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_half_precision_tokens():
    """bfloat16 tokens with float32 weights: sums and gradients in float32, within the rounding of bfloat16."""
    tokens, *rest, old_log = draw(4, 2, 30, 16, old=2, dtype=torch.float32, scale=0.2)
    coarse = values_and_gradients(fused, (tokens.bfloat16(), *rest, old_log))
    exact = values_and_gradients(by_equations, (tokens, *rest, old_log))
    for one, other in zip(coarse, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()
    assert attention_maps(tokens.bfloat16(), *rest).spatial_log.dtype == torch.float32


def test_no_tensors_are_stored_without_gradient(kernel):
    """Prediction stores no tensors for a backward pass."""
    with torch.no_grad():
        assert fused(*draw(2, 2, 3, 4)).attended.grad_fn is None


def test_no_clips(kernel):
    """An empty batch gives empty tensors of the right shape."""
    assert fused(*draw(0, 2, 3, 4)).attended.shape == (0, 4)


def test_missing_compiler(monkeypatch, capsys, tmp_path):
    """PyTorch's operators are used. Training prints one notice with the reason; prediction prints nothing."""
    cached_functions = (native.unavailable_reason, native.print_notice, native._library)
    for cached in cached_functions:
        cached.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    try:
        with torch.inference_mode():
            assert choice.choose(torch.zeros(1), torch.float32) is operators
        assert capsys.readouterr().err == ""
        chosen = [choice.choose(torch.zeros(1), torch.float32) for _ in range(2)]
    finally:
        for cached in cached_functions:
            cached.cache_clear()
    assert chosen == [operators, operators]
    notice = capsys.readouterr().err
    assert notice.count("Install gcc") == 1
    assert "(there is no C compiler)" in notice


@needs_compiler
def test_compiled_once(monkeypatch, tmp_path):
    """The library is stored in the cache folder and used again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native._library.cache_clear()
    native._library(torch.float32)
    (built,) = (tmp_path / "avcil").iterdir()
    stamp = built.stat().st_mtime_ns
    native._library.cache_clear()
    native._library(torch.float32)
    native._library.cache_clear()
    assert [p.stat().st_mtime_ns for p in (tmp_path / "avcil").iterdir()] == [stamp]


@pytest.mark.parametrize("stored", [torch.float16, torch.float64])
def test_rows_of_a_pool(kernel, stored, monkeypatch):
    """Tokens gathered in blocks, also from other dtypes, give the bits of a copied batch."""
    monkeypatch.setattr(fused_attention, "BLOCK_ROWS", 2 * 3 * 5)
    pool, weight, bias, query, old_log = draw(7, 3, 5, 6, old=2)
    pool, rows = pool.to(stored), torch.tensor([6, 0, 3, 3, 1])
    copied, lazy = pool[rows].double(), TokenRows(pool, rows, torch.float64)
    results = [
        values_and_gradients(fused, (tokens, weight, bias, query[:5].detach().requires_grad_(), old_log))
        for tokens in (copied, lazy)
    ]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(*(attention_maps(t, weight, bias, query[:5]) for t in (copied, lazy)), strict=True):
        assert torch.equal(one, other)


def test_token_rows_behave_like_a_tensor():
    """Operations other than attention use the copy."""
    pool = torch.arange(24.0).view(4, 1, 2, 3)
    lazy = TokenRows(pool, torch.tensor([2, 0]), torch.float64)
    copy = pool[[2, 0]].double()
    assert torch.equal(lazy.mean(dim=(1, 2)), copy.mean(dim=(1, 2)))
    assert torch.equal(torch.cat([lazy, copy]), torch.cat([copy, copy]))
    assert torch.equal(lazy[1:].gather(), copy[1:])
    assert (lazy.shape, lazy.dtype, len(lazy)) == (copy.shape, copy.dtype, 2)


def test_prediction_stores_no_keys(kernel, monkeypatch):
    """Without gradients, only the keys of one block exist at a time, also for trainable networks."""
    monkeypatch.setattr(fused_attention, "BLOCK_ROWS", 2 * 3 * 5)
    tokens, weight, bias, query, _ = draw(6, 3, 5, 4)
    lent: list[tuple[int, ...]] = []
    original = Workspace.checkout

    def watch(self, shape, *rest):
        lent.append(tuple(shape))
        return original(self, shape, *rest)

    monkeypatch.setattr(Workspace, "checkout", watch)
    with torch.no_grad():
        projected_attention(tokens, weight, bias, query)
    assert lent == [(2, 3, 5, 4)]


def test_old_maps_may_be_rows_of_a_pool(kernel, monkeypatch):
    """Rows gathered in blocks equal the copied rows, for any first block."""
    monkeypatch.setattr(fused_attention, "BLOCK_ROWS", 2 * 3 * 5)
    tokens, weight, bias, query, old_log = draw(6, 3, 5, 4, old=3)
    places = torch.tensor([4, 0, 5])
    pool = torch.rand(6, *old_log.shape[1:], dtype=old_log.dtype)
    pool[places] = old_log
    lazy = TokenRows(pool, places, pool.dtype)
    for one, other in zip(
        *(gradients(tokens, weight, bias, query, old) for old in (old_log, lazy)), strict=True
    ):
        assert torch.equal(one, other)


def gradients(tokens, weight, bias, query, old, **options):
    """Gradients of the sum of all outputs of the attention."""
    given = [t.detach().clone().requires_grad_() for t in (weight, bias, query)]
    out = projected_attention(tokens, *given, old_spatial_log=old, **options)
    (out.attended.square().sum() + out.temporal_log.sum() + out.spatial_divergence.sum()).backward()
    return [t.grad for t in given]


def test_workspace_buffers_are_reused_but_never_shared(kernel):
    """Two passes whose graphs exist at the same time have separate keys; afterwards the memory is reused."""
    tokens, weight, bias, query, _ = draw(3, 2, 5, 4)
    room = Workspace()
    alone = gradients(tokens, weight, bias, query, None)
    given = [t.detach().clone().requires_grad_() for t in (weight, bias, query)]
    first = projected_attention(tokens, *given, workspace=room)
    between = gradients(2 * tokens, weight, bias, query, None, workspace=room)  # another complete pass
    (first.attended.square().sum() + first.temporal_log.sum()).backward()
    for one, other in zip(alone, given, strict=True):
        assert torch.equal(one, other.grad)
    for one, other in zip(between, gradients(2 * tokens, weight, bias, query, None), strict=True):
        assert torch.equal(one, other)
    del first
    free = {buffer.data_ptr() for buffer in room._free}
    assert room.checkout(tokens.shape, tokens.dtype, tokens.device).tensor.data_ptr() in free


def test_keys_exist_as_long_as_their_graph(kernel):
    """Gradients that are computed twice are equal, also after other computations."""
    tokens, weight, bias, query, _ = draw(3, 2, 5, 4)
    room, leaf = Workspace(), weight.detach().clone().requires_grad_()
    total = projected_attention(tokens, leaf, bias, query, workspace=room).attended.square().sum()
    (once,) = torch.autograd.grad(total, leaf, retain_graph=True)
    gradients(3 * tokens, weight, bias, query, None, workspace=room)
    (again,) = torch.autograd.grad(total, leaf)
    assert torch.equal(once, again)


def test_copied_workspace_is_empty(kernel):
    """A teacher copied from a network in training has its own memory, and its predictions store no tensors."""
    tokens, weight, bias, query, _ = draw(3, 2, 5, 4)
    room = Workspace()
    gradients(tokens, weight, bias, query, None, workspace=room)
    assert room._free
    assert not copy.deepcopy(room)._free
    room.clear()
    projected_attention(tokens, weight.detach(), bias.detach(), query.detach(), workspace=room)
    assert not room._free


def test_nan_is_propagated(kernel):
    """NaN in the weights gives NaN in the result; values are not clipped."""
    tokens, weight, bias, query, _ = draw(2, 2, 3, 4)
    with torch.no_grad():
        weight[1] = torch.nan
        assert projected_attention(tokens, weight, bias, query).attended.isnan().any()


def test_invalid_shapes_and_dtypes():
    """Compiled kernels get only addresses, so shapes and dtypes are checked before."""
    tokens, weight, bias, query, old_log = draw(3, 2, 3, 4, old=2)
    for wrong in (old_log.float(), old_log[:, :1], torch.cat([old_log, old_log])):
        with pytest.raises(ValueError, match="old attention must be"):
            projected_attention(tokens, weight, bias, query, old_spatial_log=wrong)
    for wrong in (query[:2], query.float()):
        with pytest.raises(ValueError, match="the query must be"):
            projected_attention(tokens, weight, bias, wrong)
