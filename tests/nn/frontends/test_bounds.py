"""Bounded parameters: clamped where they are used, led back where they are outside."""

import torch

from shardkit.nn.frontends.bounds import bounded


def test_within_bounds_it_is_the_identity_with_its_gradients():
    values = torch.linspace(0, 1, 11, dtype=torch.float64).requires_grad_()
    assert torch.equal(bounded(values, 0.0, 1.0), values)
    assert torch.autograd.gradcheck(lambda x: bounded(x, -0.5, 1.5), (values,))


def test_outside_only_gradients_that_lead_back_pass():
    values = torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)
    uphill = torch.tensor([1.0, -1.0, 1.0, -1.0])
    bounded(values, 0.0, 1.0).backward(uphill)
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, -1.0, 1.0, 0.0]


def test_what_was_thrown_outside_finds_back_to_the_minimum():
    value = torch.nn.Parameter(torch.tensor(3.0))
    optimiser = torch.optim.SGD([value], lr=0.5)
    for _ in range(100):
        optimiser.zero_grad()
        ((bounded(value, 0.0, 1.0) - 0.25) ** 2).backward()
        optimiser.step()
    torch.testing.assert_close(value.detach(), torch.tensor(0.25))


def test_a_bound_may_be_missing_and_nan_stays():
    values = torch.tensor([-5.0, 5.0, torch.nan])
    torch.testing.assert_close(bounded(values, None, 1.0), torch.tensor([-5.0, 1.0, torch.nan]), equal_nan=True)
    torch.testing.assert_close(bounded(values, 0.0, None), torch.tensor([0.0, 5.0, torch.nan]), equal_nan=True)
