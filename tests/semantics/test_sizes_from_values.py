"""Loops in which values decide on sizes, as a mixture of experts: plans for parts that come again."""

import itertools
import random

import facula as torch
from facula import nn
from facula.engine import Counters
from facula.graph.tape import ENGINE

EXPERTS, SIZES = 6, (3, 4, 5)


def mixture():
    torch.manual_seed(0)
    experts = nn.ModuleList(
        nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
        for _ in range(EXPERTS)
    )
    optimizer = torch.optim.Adam(experts.parameters(), lr=0.01)
    x = torch.randn(EXPERTS * max(SIZES), 4)

    def step(sizes):
        owners = [k for k, n in enumerate(sizes) for _ in range(n)]
        owner = torch.tensor(owners + [-1] * (len(x) - len(owners)))
        result = torch.zeros_like(x)
        for k, expert in enumerate(experts):
            (mine,) = torch.where(owner == k)
            result[mine] += expert(x[mine])
        loss = (result - x).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def combinations(n):
    found = list(itertools.product(SIZES, repeat=EXPERTS))
    random.Random(0).shuffle(found)
    return found[:n]


def test_new_combinations_of_known_sizes_build_no_plans():
    step = mixture()
    for sizes in combinations(60):
        step(sizes)
    assert ENGINE.varying
    built = Counters.plans_built
    for sizes in combinations(75)[60:]:
        step(sizes)
    assert Counters.plans_built == built  # whole steps would be 15


def test_parts_give_what_the_whole_gives():
    step = mixture()
    whole = [step(sizes) for sizes in combinations(5)]
    assert not ENGINE.varying
    ENGINE.varying = 10**6
    step = mixture()
    assert [step(sizes) for sizes in combinations(5)] == whole
