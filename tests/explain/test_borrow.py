"""Several threads that borrow the same network at once, and the random states of all devices."""

import queue
import threading

import pytest
import torch
from torch import nn

from latentkit.explain.borrow import borrowed, in_full, seeded
from latentkit.explain.cam import cam
from latentkit.explain.captum_adapter import captum_attribution
from latentkit.explain.learned_encoder import encoder_for
from latentkit.explain.oracle import Oracle
from latentkit.explain.randomisation import cascade
from latentkit.explain.scores import unit
from tests.explain.threads import together

PATIENCE = 20  # seconds until a test that waits for ever fails


class Worker:
    """A thread that does one thing after the other, when told to."""

    def __init__(self):
        self.asked, self.done = queue.Queue(), queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while True:
            self.done.put(self.asked.get()())

    def __call__(self, task):
        self.asked.put(task)
        return self.done.get(timeout=PATIENCE)


@pytest.fixture
def worker():
    return Worker()


def test_a_score_may_wait_for_an_explanation_in_another_thread(encoder, images, worker):
    encoder.train()
    expected, inner = cam(encoder, "0", images, unit(2)).raw, []

    def score(output):
        inner.append(worker(lambda: cam(encoder, "0", images, unit(2)).raw))
        return output[:, 2]

    assert torch.equal(cam(encoder, "0", images, score).raw, expected)
    assert torch.equal(inner[0], expected)
    assert all(part.training for part in encoder.modules())


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_the_last_to_leave_gives_back_what_the_first_found(encoder, worker, first):
    encoder.train()
    encoder[3].eval()
    flags, state = [part.training for part in encoder.modules()], torch.get_rng_state()
    here, there = borrowed(encoder), borrowed(encoder)
    here.__enter__()
    torch.rand(3)
    worker(there.__enter__)
    torch.rand(3)
    leave = [lambda: here.__exit__(None, None, None), lambda: worker(lambda: leave_there(there))]
    for k, go in enumerate(leave if first == "outer" else leave[::-1]):
        go()
        mixed = [part.training for part in encoder.modules()]
        assert mixed == (flags if k else [False] * len(flags))
    assert torch.equal(torch.get_rng_state(), state)


def leave_there(there):
    there.__exit__(None, None, None)


def test_flags_that_a_borrower_sets_come_back_to_it(encoder, worker):
    with borrowed(encoder):
        encoder.train()  # as `train_encoder` does
        for run in (lambda task: task(), worker):

            def inside():
                with borrowed(encoder):
                    return any(part.training for part in encoder.modules())

            assert not run(inside)
            assert all(part.training for part in encoder.modules())
    assert not encoder.training


def test_a_borrower_in_another_thread_does_not_turn_random_numbers_back(worker):
    with borrowed(None):
        torch.manual_seed(0)
        there = borrowed(None)
        worker(there.__enter__)
        one = torch.rand(4)
        worker(lambda: leave_there(there))
        two = torch.rand(4)
    torch.manual_seed(0)
    assert torch.equal(torch.cat([one, two]), torch.rand(8))


def test_nothing_is_compiled_until_the_last_has_left(images, worker):
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    net = torch.compile(nn.Flatten(), backend=backend)
    here, there = borrowed(net), borrowed(net)
    here.__enter__()
    worker(there.__enter__)
    here.__exit__(None, None, None)
    net(images)
    assert not graphs
    worker(lambda: leave_there(there))
    net(images)
    assert len(graphs) == 1


def test_many_threads_in_any_order(encoder):
    encoder.train()
    wrong = []

    def work(_):
        for _ in range(200):
            with borrowed(encoder):
                wrong.extend(part for part in encoder.modules() if part.training)

    together(work, 4, 1e-5)
    assert wrong == []
    assert all(part.training for part in encoder.modules())


# --- seeds


def test_a_seed_is_torchs_and_the_state_comes_back():
    state = torch.get_rng_state()
    with seeded(3):
        got = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(got, torch.rand(2, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: Oracle(16, width=4),
        lambda: encoder_for((1, 8, 8), 2, width=4),
        lambda: next(cascade(nn.Linear(2, 2))),
        lambda: captum_attribution("Saliency", nn.Flatten(), torch.ones(1, 2), unit(0)),
    ],
)
def test_generators_of_all_devices_are_kept_before_a_seed(draw, monkeypatch):
    """Without a device: what the state of each would be asked of."""
    kept, fork = [], torch.random.fork_rng

    def forked(devices=None, *args, **kwargs):
        kept.append(None if devices is None else list(devices))
        return fork([], *args, **kwargs)

    seeds, manual_seed = [], torch.manual_seed

    def seed(number):
        seeds.append(list(kept))
        return manual_seed(number)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", forked)
    monkeypatch.setattr(torch, "manual_seed", seed)
    if "captum" in draw.__code__.co_names[0]:
        pytest.importorskip("captum.attr")
    draw()
    assert seeds
    assert all(before[-1:] == [[0, 1]] for before in seeds)


def test_autocast_is_off_inside():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with in_full(x):
            assert (x @ x).dtype == torch.float32
