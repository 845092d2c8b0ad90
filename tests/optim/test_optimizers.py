"""Updates agree with PyTorch's, and the rest of what an optimizer does is as PyTorch's."""

import copy

import pytest

import facula as torch

from .figures import OPTIMIZERS, path

EXPECTED = [
    [1.04604, -1.67772, 2.86188, 0.59208],
    [1.0977955, -0.9412385, 2.4571515, 0.7579565],
    [0.83055204, -3.18613572, 3.50834388, 0.16110408],
    [1.22912818, -1.774841481, 2.773918294, 0.726873322],
    [1.165167605, -1.774164437, 2.757099802, 0.704766394],
    [0.728511382, -2.100792413, 3.041860364, 0.254577904],
    [1.079748435, -1.833127574, 2.802106622, 0.593468318],
    [1.094029909, -1.341790639, 2.717910274, 0.688059817],
    [1.155907788, -1.806021455, 2.793854, 0.68071002],
    [1.082100526, -1.903906294, 2.90539719, 0.592319373],
    [1.008647448, -1.968174426, 2.958156771, 0.523046191],
    [2.807632831, -0.121712878, 1.062903912, 2.458221047],
    [0.682089866, -2.245598553, 3.152028683, 0.216236004],
    [1.22, -1.78, 2.78, 0.72],
    [1.015099047, -1.624680858, 2.774952317, 0.575135729],
    [1.010912328, -1.814204714, 2.646643614, 0.55533064],
]


@pytest.mark.parametrize("case", range(len(OPTIMIZERS)), ids=lambda i: f"{OPTIMIZERS[i][0]}{i}")
def test_three_steps(case):
    name, options = OPTIMIZERS[case]
    assert path(torch, name, options) == pytest.approx(EXPECTED[case], abs=1e-8)


def parameter(*values):
    return torch.tensor(values, requires_grad=True)


def step(optimizer, *grads):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for param, grad in zip(params, grads):
        param.grad = torch.full_like(param, grad).detach()
    return optimizer.step()


def test_sgd_skips_parameters_without_gradients():
    a, b = parameter(1.0), parameter(2.0)
    optimizer = torch.optim.SGD([a, b], lr=0.5)
    step(optimizer, 1.0)
    assert (a.item(), b.item()) == (0.5, 2.0)


def test_groups_have_their_own_options():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = torch.optim.SGD([{"params": a, "lr": 0.1}, {"params": [b]}], lr=0.5)
    step(optimizer, 1.0, 1.0)
    assert a.item() == pytest.approx(0.9)
    assert b.item() == 0.5
    assert optimizer.defaults["lr"] == 0.5


def test_learning_rate_may_be_a_tensor():
    a = parameter(1.0)
    rate = torch.tensor(0.5)
    optimizer = torch.optim.SGD([a], lr=rate)
    step(optimizer, 1.0)
    rate.fill_(0.25)
    step(optimizer, 1.0)
    assert a.item() == 0.25


def test_step_count_is_a_tensor_to_those_who_look():
    optimizer = torch.optim.Adam([parameter(1.0)])
    step(optimizer, 1.0)
    (state,) = optimizer.state.values()
    assert list(state) == ["step", "exp_avg", "exp_avg_sq"]
    count = state["step"]
    assert count.dtype is torch.float32 and count.shape == () and count.item() == 1
    step(optimizer, 1.0)
    assert count.item() == 2  # the one tensor, kept up to date
    count.fill_(9.0)
    step(optimizer, 1.0)
    assert state["step"].item() == 10
    assert [type(value) for value in dict(state).values()] == [torch.Tensor] * 3


def test_state_dict_is_a_snapshot_of_counts():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = torch.optim.Adam([a, b])
    step(optimizer, 1.0, 1.0)
    saved = optimizer.state_dict()
    first, second = saved["state"][0]["step"], saved["state"][1]["step"]
    assert first is not second
    step(optimizer, 1.0, 1.0)
    assert first.item() == 1
    assert type(saved["state"][0]) is dict
    assert saved["param_groups"][0]["params"] == [0, 1]


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "ASGD", "RMSprop", "Adagrad"])
def test_a_loaded_state_goes_on_the_same_way(name):
    options = {"momentum": 0.9} if name == "SGD" else {}
    one = parameter(1.0, 2.0)
    first = getattr(torch.optim, name)([one], lr=0.1, **options)
    step(first, 0.5)
    two = one.detach().clone().requires_grad_()
    second = getattr(torch.optim, name)([two], lr=7.0, **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        step(first, -0.3)
        step(second, -0.3)
    assert one.tolist() == two.tolist()


def test_copies_are_independent():
    optimizer = torch.optim.Adam([parameter(1.0)])
    step(optimizer, 1.0)
    other = copy.deepcopy(optimizer)
    step(other, 1.0)
    counts = [next(iter(o.state.values()))["step"].item() for o in (optimizer, other)]
    assert counts == [1, 2]


def test_closure_and_zero_grad():
    a = parameter(3.0)
    optimizer = torch.optim.SGD([a], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (a * a).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert a.item() == pytest.approx(2.4)
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.item() == 0
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_finds_the_minimum_of_a_valley(search):
    point = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    rate = 1 if search else 0.1
    optimizer = torch.optim.LBFGS([point], lr=rate, max_iter=300, line_search_fn=search)

    def closure():
        optimizer.zero_grad()
        x, y = point[0], point[1]
        loss = (1 - x) ** 2 + 10 * (y - x * x) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert point.tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_hooks_run_around_steps_and_state_dicts():
    optimizer = torch.optim.SGD([parameter(1.0)], lr=0.5)
    seen = []
    pre = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    step(optimizer, 1.0)
    pre.remove()
    step(optimizer, 1.0)
    assert seen == ["pre", "post", "post"]
    assert optimizer.state_dict()["extra"] == 1


def test_an_optimizer_of_ones_own():
    class SignDescent(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    param.add_(param.grad.sign(), alpha=-group["lr"])
                    self.state[param]["seen"] = True

    a = parameter(1.0, -1.0)
    optimizer = SignDescent([a], lr=0.5)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    step(optimizer, 3.0)
    assert a.tolist() == [0.5, -1.5] and calls == [1]
    assert optimizer.state_dict()["state"] == {0: {"seen": True}}


def test_repr():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = torch.optim.SparseAdam([{"params": a}, {"params": b, "lr": 0.5}])
    assert repr(optimizer) == (
        "SparseAdam (\nParameter Group 0\n    betas: (0.9, 0.999)\n    eps: 1e-08\n"
        "    lr: 0.001\n    maximize: False\n\nParameter Group 1\n    betas: (0.9, 0.999)\n"
        "    eps: 1e-08\n    lr: 0.5\n    maximize: False\n)"
    )


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), TypeError, "iterable of Tensors or dicts"),
        (lambda p: torch.optim.SGD([], lr=0.1), ValueError, "empty parameter list"),
        (lambda p: torch.optim.SGD([3], lr=0.1), TypeError, "one of the params is int"),
        (lambda p: torch.optim.SGD([p * 2], lr=0.1), ValueError, "non-leaf"),
        (lambda p: torch.optim.SGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda p: torch.optim.SGD([p], nesterov=True), ValueError, "Nesterov momentum"),
        (lambda p: torch.optim.Adam([p], betas=(1.0, 0)), ValueError, "beta parameter at index 0"),
        (
            lambda p: torch.optim.SGD([{"params": [p]}, {"params": [p]}]),
            ValueError,
            "more than one parameter group",
        ),
        (lambda p: torch.optim.SGD([("a", p), p.detach()]), ValueError, "with/without names"),
        (lambda p: torch.optim.Muon([p]), ValueError, "2D parameters"),
        (
            lambda p: torch.optim.SGD([p]).load_state_dict({"param_groups": []}),
            ValueError,
            "different number of parameter groups",
        ),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make(parameter(1.0))


def test_duplicates_are_warned_about():
    a = parameter(1.0)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        torch.optim.SGD([a, a])


def test_names_of_parameters_are_kept():
    optimizer = torch.optim.SGD([("a", parameter(1.0)), ("b", parameter(1.0))])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]


def test_gradients_flow_through_differentiable_steps():
    rate = torch.tensor(0.5, requires_grad=True)
    start = parameter(1.0)
    moving = start.clone()
    optimizer = torch.optim.SGD([moving], lr=rate, differentiable=True)
    moving.grad = torch.tensor([3.0])
    optimizer.step()
    moving.sum().backward()
    assert rate.grad.item() == -3.0 and start.grad.item() == 1.0


def test_swapping_in_other_parameters():
    a = parameter(1.0)
    optimizer = torch.optim.Adam([a], lr=0.5)
    step(optimizer, 1.0)
    saved, before = optimizer.state_dict(), a.item()
    other = parameter(1.0)
    other.grad = torch.ones(1)
    with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"a": other}, saved):
        optimizer.step()
    assert a.item() == before and other.item() != 1.0
    assert saved["state"][0]["step"].item() == 2
    assert optimizer.state[a]["step"].item() == 1


def test_lbfgs_line_search_keeps_to_max_eval():
    """Counts of PyTorch 2.13: the search may use what is left of max_eval, not 25 always."""
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0, 0.5, -0.3], dtype=torch.float64))
    optimizer = torch.optim.LBFGS([x], lr=0.1, max_eval=5, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((1 - x[:-1]) ** 2 + 10 * (x[1:] - x[:-1] ** 2) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    state = optimizer.state[x]
    assert (state["func_evals"], state["n_iter"]) == (22, 10)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RMSprop", "ASGD", "Adagrad", "SGD"])
def test_states_of_old_pytorch_versions_load(name):
    """Before 1.12 counts were numbers, and groups said less: training goes on all the same."""
    options = {"lr": 0.1} | ({"momentum": 0.9} if name == "SGD" else {})

    def fresh(values):
        p = torch.nn.Parameter(torch.tensor(values))
        return p, getattr(torch.optim, name)([p], **options)

    def step(p, optimizer):
        p.grad = torch.tensor([0.5, -1.0])
        optimizer.step()

    p, optimizer = fresh([1.0, 2.0])
    step(p, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    later = {"maximize", "differentiable", "capturable", "foreach", "fused"}
    state["param_groups"] = [
        {k: v for k, v in g.items() if k not in later | {"decoupled_weight_decay"}}
        for g in state["param_groups"]
    ]
    for entry in state["state"].values():
        for key in {"step", "eta", "mu", "mu_product"} & entry.keys():
            entry[key] = entry[key].item()
    q, other = fresh(p.tolist())
    other.load_state_dict(state)
    for entry in other.state_dict()["state"].values():
        assert all(isinstance(entry[k], torch.Tensor) for k in {"step", "eta"} & entry.keys())
    step(p, optimizer), step(q, other)
    assert torch.equal(p, q)


def test_loading_adds_only_options_that_the_optimizer_has():
    """PyTorch's Adafactor and Muon have no `differentiable`."""
    for name in ("Adafactor", "Muon"):
        optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(2, 2))])
        state = optimizer.state_dict()
        optimizer.load_state_dict(state)
        assert list(optimizer.state_dict()["param_groups"][0]) == list(state["param_groups"][0])
