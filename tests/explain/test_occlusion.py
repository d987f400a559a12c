import pytest
import torch
from torch import nn

from latentkit.explain.occlusion import occlusion
from latentkit.explain.references import outputs, similarity
from latentkit.explain.scores import unit


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((10,), 4, 3), ((10, 12), (4, 3), (2, 3)), ((10, 12), 2, 1), ((4, 6, 8), 2, 2)],
)
def test_equals_captum(size, window, stride):
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    x = torch.randn(3, 2, *size)
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 8), nn.Tanh(), nn.Linear(8, 3))
    wide = (2, *([window] * len(size) if isinstance(window, int) else window))
    step = (2, *([stride] * len(size) if isinstance(stride, int) else stride))
    expected = attr.Occlusion(net).attribute(x, wide, step, baselines=0.5, target=1)
    got = occlusion(net, x, unit(1), window, stride, fill=0.5)
    torch.testing.assert_close(got.expand_as(expected), expected, atol=1e-6, rtol=1e-5)


def slow(net, x, k, window, stride, fill):
    """One window and one image at a time."""
    total, count = torch.zeros(len(x), *x.shape[2:]), torch.zeros(x.shape[2:])
    rows, columns = (sorted({*range(0, s - window, stride), s - window}) for s in x.shape[2:])
    for i in rows:
        for j in columns:
            count[i : i + window, j : j + window] += 1
            for n in range(len(x)):
                moved = x[n : n + 1].clone()
                moved[0, :, i : i + window, j : j + window] = fill[:, None, None]
                lost = net(x[n : n + 1])[0, k] - net(moved)[0, k]
                total[n, i : i + window, j : j + window] += lost
    return (total / count)[:, None]


@torch.no_grad()
def test_windows_that_do_not_fit_and_any_batch(encoder, images):
    fill = torch.tensor([0.1, 0.2, 0.3])
    expected = slow(encoder, images, 2, 5, 3, fill)
    for batch in (1, 6, 9, 1000):
        got = occlusion(encoder, images, unit(2), 5, 3, fill[:, None, None], batch)
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)
    half = occlusion(encoder, images, unit(2), 5)  # half of the window
    assert torch.equal(half, occlusion(encoder, images, unit(2), 5, 2))


def test_single_places_of_a_linear_score_give_weight_times_value():
    torch.manual_seed(0)
    net, x = (
        nn.Sequential(nn.Flatten(), nn.Linear(24, 2)).double(),
        torch.randn(5, 2, 3, 4).double(),
    )
    expected = (net[1].weight[1].reshape(2, 3, 4) * x).sum(1, keepdim=True).detach()
    got = occlusion(net, x, unit(1), 1, 1)
    torch.testing.assert_close(got, expected)
    blurred = occlusion(net, x, unit(1), (3, 4))
    torch.testing.assert_close(blurred, expected.sum((2, 3), keepdim=True).expand(-1, -1, 3, 4))


def test_a_score_may_hold_something_for_each_image_and_a_module_give_a_tuple(encoder, images):
    score = similarity(outputs(encoder, images))
    together = occlusion(encoder, images, score, 4)
    singles = [
        occlusion(encoder, x[None], similarity(outputs(encoder, x[None])), 4) for x in images
    ]
    torch.testing.assert_close(together, torch.cat(singles), atol=1e-6, rtol=1e-4)

    class Both(nn.Module):
        def forward(self, x):
            return x, encoder(x)

    got = occlusion(Both(), images, lambda output: score(output[1]), 4)
    torch.testing.assert_close(got, together, atol=1e-6, rtol=1e-4)


def test_errors(encoder, images):
    with pytest.raises(ValueError, match=r"window inside the input \(12, 10\), got \(11, 11\)"):
        occlusion(encoder, images, unit(0), 11)
    with pytest.raises(ValueError, match=r"a stride of one positive number.*got 0"):
        occlusion(encoder, images, unit(0), 4, 0)
    with pytest.raises(ValueError, match=r"each of the 2 dimensions .*got \(3, 4, 4\)"):
        occlusion(encoder, images, unit(0), (3, 4, 4))
    with pytest.raises(ValueError, match=r"one value per sample, shape \(4,\)"):
        occlusion(encoder, images, lambda output: output, 4)
    with pytest.raises(ValueError, match=r"a fill that broadcasts to x \(4, 3, 12, 10\), got \(5,"):
        occlusion(encoder, images, unit(0), 4, fill=torch.zeros(5))
