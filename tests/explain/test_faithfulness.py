import pytest
import torch
from torch.nn import functional

from latentkit.explain import faithfulness
from latentkit.explain.faithfulness import direction_retrieval, measurable, with_rivals
from latentkit.metrics.bootstrap import mean_interval, wilson


@pytest.fixture
def truths():
    return torch.rand(5, 40, 8, 8, generator=torch.Generator().manual_seed(0))


def test_perfect_maps_find_their_direction_at_any_scale_sign_and_size(truths):
    coarse = functional.avg_pool2d(truths, 2)
    scale = torch.tensor([1e-6, 1.0, -3.0, 1e4, -1.0])[:, None, None, None]
    for maps in (truths, truths * scale, coarse):
        got = direction_retrieval(maps, truths)
        assert got.accuracy == 1
        assert got.per_direction.tolist() == [1] * 5
        assert (got.chance, got.trials) == (0.2, 200)
        assert got.interval[0] > 0.9
        assert got.interval[1] == 1
        assert got.interval == wilson(1.0, 40)  # images count, not trials


def test_random_maps_are_near_chance(truths):
    maps = torch.rand(5, 40, 4, 4, generator=torch.Generator().manual_seed(1))
    got = direction_retrieval(maps, truths)
    assert 0.1 < got.accuracy < 0.3
    assert got.interval[0] < got.chance < got.interval[1]


def test_maps_of_the_next_direction_never_win(truths):
    got = direction_retrieval(truths.roll(1, 0), truths)
    assert got.accuracy == 0
    assert got.interval[0] == 0


def test_per_direction_tells_which_one_fails(truths):
    maps = truths.clone()
    maps[[1, 3]] = truths[[3, 1]]
    assert direction_retrieval(maps, truths).per_direction.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("scales", [[1.0] * 5, [1.0, 2.0, 0.3, 7.0, 1e-3]])
def test_maps_that_ignore_the_direction_never_win(truths, scales):
    scale = torch.tensor(scales)[:, None, None, None]
    for same in (torch.ones(5, 40, 8, 8), truths.mean(0).expand(5, -1, -1, -1), truths[:1]):
        assert direction_retrieval(same.expand(5, -1, -1, -1) * scale, truths).accuracy == 0


def test_dead_and_broken_maps_lose_and_ties_lose(truths):
    for fill in (0.0, float("nan")):
        maps = truths.clone()
        maps[2] = fill
        got = direction_retrieval(maps, truths)
        assert got.per_direction.tolist() == [1, 1, 0, 1, 1]
        assert got.margin[2].tolist() == [0] * 40
    doubled = truths.clone()
    doubled[1] = doubled[0]  # two directions with one truth: neither can be told
    assert direction_retrieval(doubled, doubled).per_direction.tolist() == [0, 0, 1, 1, 1]


def test_equals_slow_loops(truths, monkeypatch):
    monkeypatch.setattr(faithfulness, "_TOGETHER", 7)
    noise = torch.rand(5, 40, 8, 8, generator=torch.Generator().manual_seed(3))
    maps = 0.35 * truths + 0.65 * noise
    wins, margins = torch.zeros(5, 40), torch.zeros(5, 40)
    for n in range(40):
        residuals = []
        for group in (maps[:, n], truths[:, n]):
            units = [one.double() / one.double().square().sum().sqrt() for one in group]
            mean = sum(units) / 5
            residuals.append([one - mean for one in units])
        for k in range(5):
            a = residuals[0][k]
            similar = [float((a * b).sum() / (a.norm() * b.norm())) for b in residuals[1]]
            wins[k, n] = similar.index(max(similar)) == k
            margins[k, n] = similar[k] - max(similar[:k] + similar[k + 1 :])
    got = direction_retrieval(maps, truths)
    assert 0.3 < got.accuracy < 1
    assert torch.equal(got.per_direction.float(), wins.mean(1))
    assert torch.equal(got.won, wins.bool())
    torch.testing.assert_close(got.margin.float(), margins)


def test_intervals_of_a_difference_over_images(truths):
    noise = torch.rand(5, 40, 8, 8, generator=torch.Generator().manual_seed(3))
    better, worse = (direction_retrieval((1 - s) * truths + s * noise, truths) for s in (0.5, 0.8))
    for kind in ("won", "margin"):
        gain = getattr(better, kind).double().mean(0) - getattr(worse, kind).double().mean(0)
        assert mean_interval(gain)[0] > 0


@pytest.mark.parametrize("size", [(16,), (4, 3, 5)])
def test_signals_and_volumes(size):
    truths = torch.rand(3, 10, *size)
    assert direction_retrieval(truths, truths).accuracy == 1


def test_errors_of_retrieval(truths):
    with pytest.raises(ValueError, match=r"at least 2 directions and one image, got \(1, 40\)"):
        direction_retrieval(truths[:1], truths[:1])
    with pytest.raises(ValueError, match="same K, N and rank"):
        direction_retrieval(truths[:, :3], truths)


def test_what_random_weights_do_as_well_is_not_faithful(truths):
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(5, 40, 8, 8, generator=generator)
    good, poor = truths + 0.3 * noise, 0.4 * truths + 0.6 * noise
    guesses = [torch.rand(5, 40, 8, 8, generator=generator) for _ in range(3)]
    told = direction_retrieval(good, truths, guesses)
    won = torch.stack([direction_retrieval(g, truths).won.double() for g in guesses]).mean(0)
    assert told.control == pytest.approx(won.mean().item())
    assert torch.equal(told.control_won, won)
    assert told.gain == mean_interval((told.won.double() - won).mean(0))
    assert told.faithful
    assert told.only(2).control == pytest.approx(won[2].mean().item())
    assert told.only(2).faithful
    same = direction_retrieval(poor, truths, [poor + 0.01 * g for g in guesses])
    assert same.interval[0] > 2 * same.chance  # much better than a guess
    assert same.shortcomings == (f"no better than with random weights ({same.control:.2f})",)
    assert direction_retrieval(poor, truths).faithful  # without a control nothing speaks against it


def test_every_shortcoming_is_named(truths):
    def told(wins):  # the first directions alone are told, in every image
        order = [*range(wins), *torch.arange(wins, 5).roll(1).tolist()]
        return direction_retrieval(truths[order], truths)

    assert told(5).shortcomings == ()
    assert told(0).shortcomings == ("no better than a guess",)  # which says it all
    luck = "too few directions told apart to rule out luck"
    assert told(2).shortcomings == (luck,)
    assert told(2).only(0).shortcomings == (luck,)  # its images say nothing of luck
    assert told(3).only(0).shortcomings == ()
    many = torch.rand(5, 1000, 4, 4, generator=torch.Generator().manual_seed(5))
    faint = 0.12 * many + torch.rand(5, 1000, 4, 4, generator=torch.Generator().manual_seed(6))
    weak = direction_retrieval(faint, many)
    assert weak.interval[0] > weak.chance
    assert "less than twice as good as a guess" in weak.shortcomings


def test_directions_along_one_line_are_refused():
    a, b = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])
    assert len(with_rivals(torch.stack([a, b]), 0)) == 5
    with pytest.raises(ValueError, match="got 'up' and 'down' along one line"):
        with_rivals(torch.stack([a, b, -2 * a]), 0, ["up", "on", "down"])
    with pytest.raises(ValueError, match="'direction 1' and 'direction 2'"):
        with_rivals(torch.stack([a, a]), 0)
    with_rivals(torch.ones(2, 1), 0)  # one dimension has no other line
    assert [measurable(torch.ones(2, n)) for n in (1, 2)] == [False, True]
