"""Mutual information of two views against its definition, and its extremes."""

import math

import numpy as np
import torch

from latentkit.losses.clustering import mutual_information


def by_definition(p, q):
    """Sum over pairs of P log(P / (P_i P_j)), one pair at a time."""
    joint = np.zeros((p.shape[1], p.shape[1]))
    for a, b in zip(p, q, strict=True):
        joint += (np.outer(a, b) + np.outer(b, a)) / (2 * len(p))
    total = 0.0
    for i in range(len(joint)):
        for j in range(len(joint)):
            total += joint[i, j] * math.log(joint[i, j] / (joint[i].sum() * joint[j].sum()))
    return total


def test_equals_its_definition():
    p, q = torch.randn(2, 50, 4, dtype=torch.float64).softmax(-1)
    assert math.isclose(mutual_information(p, q).item(), by_definition(p.numpy(), q.numpy()))


def test_is_log_k_for_sure_balanced_agreement_and_zero_for_one_cluster():
    sure = torch.eye(5).repeat(10, 1)
    assert math.isclose(mutual_information(sure, sure).item(), math.log(5), rel_tol=1e-4)
    one = torch.zeros(50, 5)
    one[:, 2] = 1
    assert abs(mutual_information(one, one).item()) < 1e-5


def test_is_about_zero_for_unrelated_views():
    p, q = torch.randn(2, 20_000, 3).softmax(-1)
    assert 0 <= mutual_information(p, q).item() < 1e-3


def test_gradient_is_finite_where_the_clusters_are_sure():
    logits = (1e3 * torch.eye(4)).requires_grad_()
    mutual_information(logits.softmax(1), torch.eye(4)).backward()
    assert logits.grad.isfinite().all()
