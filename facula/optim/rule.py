"""What the optimizers that update group by group have in common."""

import facula as torch
from facula.ops.update import fused_update

from .optimizer import Optimizer
from .state import ParamState, adopted


class UpdateRule(Optimizer):
    """An optimizer whose step is one update of each group.

    `_begin(param, grad)` makes the state of a parameter that is stepped for the first time,
    `_update(group)` gathers the tensors of a group and calls the update.
    """

    _host_numbers = ("step",)
    # options that came later than the optimizers, with what they are in groups of before
    _added_options = {
        "maximize": False,
        "differentiable": False,
        "capturable": False,
        "foreach": None,
        "fused": None,
    }

    def step(self, closure=None):
        """Updates the parameters; returns the loss if `closure` computes one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.defaults.get("differentiable"):
            for group in self.param_groups:
                self._update(group)
        else:
            with torch.no_grad():
                for group in self.param_groups:
                    self._update(group)
        return loss

    def _begin(self, param, grad, group):
        raise NotImplementedError

    def _update(self, group):
        raise NotImplementedError

    def __setstate__(self, state):
        """Completes groups that were saved by an older version, which lacked some options."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._added_options.items():
                if name in self.defaults:
                    group.setdefault(name, value)

    def _gather(self, group, *keys):
        """(params, grads, one list per key) of the parameters that have gradients."""
        params, grads, states = [], [], []
        everything = self.state
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            state = everything[param]
            if type(state) is not ParamState:
                state = self._first_touch(param, grad, group, state)
            params.append(param)
            grads.append(grad)
            states.append(state)
        raw = dict.get
        return (params, grads, *[[raw(state, key) for state in states] for key in keys])

    def _first_touch(self, param, grad, group, state):
        state = adopted(state, self._host_numbers, live=True)
        if not state:
            for key, value in self._begin(param, grad, group).items():
                dict.__setitem__(state, key, value)
        self.state[param] = state
        return state


# -- checks of arguments --------------------------------------------------------


def check_lr(lr, least=0.0):
    if isinstance(lr, torch.Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check("learning rate", lr, least)


def check(what, value, least=0.0):
    if not least <= value:
        raise ValueError(f"Invalid {what}: {value}")


def check_betas(betas):
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_fused(fused, foreach, differentiable):
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def refuse_sparse(name, grads, instead=""):
    for grad in grads:
        if grad.is_sparse:
            raise RuntimeError(f"{name} does not support sparse gradients{instead}")


# -- operands ----------------------------------------------------------------------


def number(value):
    """A hyperparameter as an operand: a Python number, unless gradients flow into a tensor."""
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, torch.Tensor) and not value.requires_grad:
        return value.item()
    return value


def as_real(*tensors):
    """Complex tensors as views of their real and imaginary parts."""
    return [t if t is None else torch.view_as_real(t) for t in tensors]


def skips(found_inf):
    """Whether a gradient scaler found gradients that are not finite."""
    return found_inf is not None and bool(found_inf.item())


# -- updates -------------------------------------------------------------------------


def apply(update, columns, options):
    """Runs `update(param, grad, *states, **options)` for every parameter.

    columns: parameters, gradients, then one list for each state. Recorded as one operator over all
    of them where that is possible.
    """
    if fused_update(update, columns, options):
        return
    for row in zip(*columns):
        if row[0].is_complex():
            row = as_real(*row)
        update(*row, **options)


def apply_with(update, columns, options, keys, numbers):
    """The same with numbers that depend on a key of each parameter, such as its step count.

    numbers: a function from a key to more options. Nearly always all keys are the same.
    """
    if not keys:
        return
    first = keys[0]
    if keys.count(first) == len(keys):
        apply(update, columns, {**options, **numbers(first)})
        return
    for key, row in zip(keys, zip(*columns)):
        apply(update, [[tensor] for tensor in row], {**options, **numbers(key)})


def unscaled(grads, grad_scale):
    """The gradients without the factor that a gradient scaler put in."""
    return grads if grad_scale is None else [grad / grad_scale for grad in grads]
