"""Programs whose values say which places are written and what is joined: their plans come again."""

import random

import pytest

import facula as torch
from facula.engine import Counters
from facula.graph.tape import ENGINE


def plans_for(step, inputs):
    """Plans that are built for inputs after the first ones."""
    inputs = list(inputs)
    for x in inputs[:3]:
        step(x)
    built = Counters.plans_built
    for x in inputs[3:]:
        step(x)
    return Counters.plans_built - built


def places(n, each=4):
    g = random.Random(0)
    return [g.sample(range(1, 20), each) for _ in range(n)]


def test_elements_written_at_new_places_build_no_plans():
    def one_hot(where):
        x = torch.zeros(len(where), 1, 20)
        for i, k in enumerate(where):
            x[i][0][k] = 1
        assert (x * torch.arange(20.0)).sum().item() == sum(where)

    assert plans_for(one_hot, places(12)) == 0


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int64", "int8", "complex64", "bfloat16", "float16"]
)
def test_elements_counted_at_new_places_build_no_plans(dtype):
    def count(where):
        x = torch.zeros(20, dtype=getattr(torch, dtype))
        for k in where:
            x[k] += 1
            x[k] *= 3
        want = [3.0 * where.count(k) for k in range(20)]
        assert [complex(v).real for v in x.tolist()] == want

    assert plans_for(count, places(12)) == 0


def test_one_place_counted_twice():
    x = torch.zeros(5)
    for k in (2, 3, 2):
        x[k] += 1
        x[k] = x[k] * 2
    assert x.tolist() == [0, 0, 6, 2, 0]


def test_written_slices_are_not_copied_to_themselves():
    x = torch.arange(6.0)
    version = x._version
    x[1:3] += x[3:5]
    assert x.tolist() == [0, 4, 6, 3, 4, 5]
    assert x._version == version + 2  # the addition, and the assignment


def test_derivatives_of_counted_elements():
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = torch.zeros(4)
    x[1] += w[0] * w[1]
    x[1] *= w[2]
    x[2] = x[1] * 2
    x.sum().backward()
    assert w.grad.tolist() == [18.0, 9.0, 6.0]


@pytest.mark.parametrize("join", ["cat", "stack"])
def test_which_tensors_are_joined_builds_no_plans(join):
    memory = [torch.tensor([[float(i), 1.0]]) for i in range(30)]

    def batch(seed):
        chosen = random.Random(seed).choices(range(30), k=12)
        x = getattr(torch, join)([memory[k] for k in chosen])
        assert (x * 2).sum().item() == 2 * (sum(chosen) + 12)

    assert plans_for(batch, range(10)) == 0


def test_a_few_texts_of_new_lengths_build_no_plans():
    def batch(seed):
        g = random.Random(seed)
        texts = [torch.tensor(range(1, 1 + n)) for n in (5, *[g.randint(1, 5) for _ in range(4)])]
        x = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-1)
        assert x.shape == (5, 5)
        assert x.tolist() == [[*range(1, 1 + len(t)), *[-1] * (5 - len(t))] for t in texts]
        assert (x * 2).clamp(0).sum().item() == sum(len(t) * (len(t) + 1) for t in texts)

    assert plans_for(batch, range(10)) == 0


def episodes(lengths):
    torch.manual_seed(0)
    policy = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.01)
    for length in lengths:
        x, kept = torch.zeros(1, 4), []
        for _ in range(length):
            chances = torch.distributions.Categorical(logits=policy(x))
            action = chances.sample()
            kept.append(chances.log_prob(action))
            x = x + action.item() - 0.5
        optimizer.zero_grad()
        torch.cat(kept).sum().backward()
        optimizer.step()
        yield policy[0].weight.sum().item()


def test_episodes_of_nearly_always_new_lengths():
    """Where some lengths come again, the others' backward passes are in parts that come again, too."""
    lengths = [n for k in range(60, 64) for n in (k, 60)]
    ENGINE.new_in_a_row = 6.5
    whole = list(episodes(lengths))
    assert ENGINE.varying
    ENGINE.varying = 10**6
    assert list(episodes(lengths)) == pytest.approx(whole, abs=1e-6)


def test_backward_passes_are_cut_where_the_forward_pass_was():
    ENGINE.varying = 10**6
    list(episodes([5, 6, 7]))
    run = Counters.plans_run
    list(episodes([20]))
    assert Counters.plans_run - run > 35  # 20 forward passes, 20 backward
