"""On the meta device nothing is drawn and no memory is taken."""

import pytest

import facula as torch
from facula import nn

IN_PLACE = (
    "uniform_",
    "normal_",
    "random_",
    "bernoulli_",
    "exponential_",
    "cauchy_",
    "log_normal_",
)


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_generator_stays_where_it_is(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    getattr(torch.empty(10**9, 10**6, device="meta"), name)()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_of_any_size_is_made_at_once():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        layer = nn.Linear(10**6, 10**6)
    assert layer.weight.numel() == 10**12
    assert torch.equal(torch.get_rng_state(), before)
