import pytest
import torch

from latentkit.latent.analogies import analogies


def parallelograms(count=30, dim=24, noise=0.05, seed=0):
    """Rows 0..: a, b, c, d of each analogy in turn, d = c + b - a with noise, b - a shared."""
    generator = torch.Generator().manual_seed(seed)
    relation = torch.randn(dim, generator=generator)
    a, c = torch.randn(2, count, dim, generator=generator)
    found = torch.stack([a, a + relation, c, c + relation], 1)
    return (found + noise * torch.randn(found.shape, generator=generator)).flatten(0, 1)


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_a_planted_parallelogram_is_ranked_first(method):
    points = parallelograms()
    a = torch.arange(0, len(points), 4)
    found = analogies(points, a, a + 1, a + 2, 5, method=method)
    assert (found.ranked[:, 0] == a + 3).float().mean() > 0.9
    assert (found.scores.diff(dim=1) <= 0).all()
    assert torch.allclose(found.margin, found.scores[:, 0] - found.scores[:, 1])
    assert found.ranked.shape == found.scores.shape == (30, 5)


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_on_random_points_it_is_chance(method):
    points = torch.randn(404, 16, generator=torch.Generator().manual_seed(0))
    a = torch.arange(0, 400, 4)
    ranked = analogies(points, a, a + 1, a + 2, 40, method=method).ranked
    hit = (ranked == (a + 3)[:, None]).any(1).float().mean().item()
    assert hit == pytest.approx(40 / 401, abs=0.09)  # three standard errors


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_scores_are_those_of_the_papers_and_inputs_never_answer(method):
    points = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    a, b, c = 2, 7, 4
    one = torch.tensor
    found = analogies(points, one([a]), one([b]), one([c]), 6, method=method)

    def cos(i, j):
        return torch.cosine_similarity(points[i], points[j], dim=0).item()

    def score(d):
        if method == "3cosadd":
            return cos(d, b) - cos(d, a) + cos(d, c)
        return (1 + cos(d, b)) * (1 + cos(d, c)) / 4 / ((1 + cos(d, a)) / 2 + 1e-3)

    expected = sorted({*range(9)} - {a, b, c}, key=score, reverse=True)
    assert found.ranked[0].tolist() == expected
    assert found.scores[0].tolist() == pytest.approx([score(d) for d in expected], abs=1e-5)


def test_a_single_candidate_has_no_rival():
    points = torch.eye(4) + 0.1
    found = analogies(points, *(torch.tensor([i]) for i in range(3)), 1)
    assert found.ranked.tolist() == [[3]]
    assert found.margin.item() == float("inf")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 3}, "1 <= k <= 2.*got k=3"),
        ({"k": 0}, "got k=0"),
        ({"a": torch.tensor([5])}, "rows of 5 points, got 5..5"),
        ({"a": torch.tensor([-1])}, "got -1"),
        ({"a": torch.tensor([1.0])}, "integers"),
        ({"a": torch.tensor([], dtype=torch.long)}, "integers"),
        ({"method": "sum"}, "'3cosadd', '3cosmul'.*got 'sum'"),
        ({"points": torch.eye(5) * torch.arange(5)}, "points other than zero"),
        ({"points": torch.full((5, 2), torch.nan)}, "finite points"),
    ],
)
def test_bad_input(settings, message):
    rows = {name: torch.tensor([i]) for i, name in enumerate("abc")}
    with pytest.raises(ValueError, match=message):
        analogies(**{"points": torch.eye(5), **rows, "k": 1, **settings})
