import functools
from dataclasses import replace

import pytest
import torch

from latentkit.data.batches import keyed_generator
from latentkit.data.shapes_render import FACTORS, render, sample_factors
from latentkit.explain.case import Case, Judge, judge_of, known_scenes
from latentkit.explain.dirbench import completeness, score_maps
from latentkit.explain.paired import paired_directions
from latentkit.explain.readings import CEILING, read_pattern
from latentkit.models.clustergan import ClusterGAN
from latentkit.protocols import Part
from tests.explain import trained
from tests.explain.trained import SIZE


@pytest.fixture(scope="module")
def known():
    """The case of the trained oracle, with all that is known of its scenes, judged by itself."""
    oracle, _ = trained.oracle()
    case = trained.case()
    scenes = known_scenes(oracle.factors(case.z), SIZE)
    return trained.replaced(scenes=scenes, judge=Judge(oracle.encoder, case.directions))


def test_a_scene_changes_as_the_renderer_says():
    factors = sample_factors(6, keyed_generator(3, 3)).double()
    found = known_scenes(factors, SIZE, ("hue", "phase"))
    for k, name in enumerate(("hue", "phase")):
        step = torch.zeros(10).double()
        step[FACTORS.index(name)] = 1e-5
        slope = (render(factors + step, SIZE).image - render(factors - step, SIZE).image) / 2e-5
        torch.testing.assert_close(found.changes[k], slope.norm(dim=1), atol=1e-5, rtol=1e-3)
    masks = render(factors, SIZE).masks
    assert torch.equal(found.owners, torch.stack([masks[:, 0], masks[:, 2]]))


def test_the_oracle_draws_the_scenes_that_are_known(known):
    row = score_maps(CEILING["change of the drawn scene"](known), known.effects(), known)
    assert row["retrieval"].mean == 1
    assert row["owner"].mean > 0.6  # moving an object also changes what it uncovers
    free = score_maps(torch.ones_like(known.effects()), known.effects(), known)
    assert free["owner"].mean == pytest.approx(known.scenes.owners.mean().item(), abs=1e-6)
    assert row["owner"].low > free["owner"].high


def test_places_that_change_carry_the_change_and_others_do_not(known):
    truths = known.effects()
    found = {n: known.insertion(m).nanmean() for n, m in {"own": truths, "not": -truths}.items()}
    found["none"] = known.insertion(1 / (1e-3 + truths)).nanmean()
    assert found["own"] == found["not"]  # absolute values count
    assert found["own"] > 0.7 > 0.4 > found["none"]


def test_images_whose_change_the_judge_hardly_sees_are_left_out(known):
    found = known.insertion(known.effects())
    share = found.isnan().double().mean(1)
    assert 0 < share.mean() < 0.5  # less than half lies below half the median
    assert (share <= 0.5).all()
    row = score_maps(known.effects(), known.effects(), known)
    assert row["insertion"].mean == pytest.approx(found.nanmean(0).mean().item(), abs=1e-6)


def test_a_judge_has_its_own_directions(known, monkeypatch):
    encode, few = known.part.module, functools.partial(paired_directions, pairs=20)
    monkeypatch.setattr("latentkit.explain.case.paired_directions", few)
    judge = judge_of(encode, SIZE)
    assert torch.equal(judge.directions, few(encode, SIZE))
    other = trained.replaced(judge=Judge(lambda x: encode(x)[:, :4], judge.directions[:, :4]))
    assert other.insertion(known.effects()).shape == (9, len(known.z))


def test_what_is_not_known_is_said():
    case = trained.case()
    with pytest.raises(ValueError, match="expected a case with a judge"):
        case.insertion(case.effects())
    with pytest.raises(ValueError, match="expected a case with known scenes"):
        CEILING["change of the drawn scene"](case)


def test_sums_along_the_way_are_complete(known):
    found = completeness(known)
    assert found["use_along"] < 0.05 < found["use"]


def test_networks_whose_first_operation_works_in_place(converts, images):
    case = Case(lambda z: z.mul_(2), Part(converts[0], ("0",)), images, torch.eye(5))
    kept = images.clone()
    assert torch.equal(case.x, 2 * kept)
    for _ in range(2):
        assert torch.equal(case.encode(images), converts[1](kept))
    assert torch.equal(images, kept)


def test_a_network_in_training_is_read_as_if_it_were_not():
    torch.manual_seed(0)
    model = ClusterGAN((1, 8, 8), 3, 2, width=2, hidden=4, encoder_norm="batch").train()
    z = model.prior.sample(6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    case = Case(model.decode, model.explainable()["encoder"], z, torch.eye(5)[:2])
    case = replace(case, judge=Judge(model.encode, torch.eye(5)[:2]))
    first, again = (case.insertion(read_pattern(case)) for _ in range(2))
    assert torch.equal(first.nan_to_num(), again.nan_to_num())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.encoder.training
    model.eval()
    x = model.decode(z)
    assert torch.equal(case.encode(x), model.encode(x))  # shares of the classes, not logits
    assert not torch.equal(case.encode(x), model.encoder(x))


def test_a_judge_that_sees_nothing_measures_nothing(known):
    blind = trained.replaced(judge=Judge(lambda x: torch.zeros(len(x), 2), torch.ones(9, 2)))
    row = score_maps(known.effects(), known.effects(), blind)
    assert "insertion" not in row
    assert row["retrieval"].mean == 1
