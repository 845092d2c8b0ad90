"""The base class of learning-rate schedulers."""

import types
import warnings
import weakref
from contextlib import contextmanager

import facula as torch

from ..optimizer import Optimizer

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if "
    "epoch is different from None, the closed form is used instead of the new chainable form, "
    "where available. Please open an issue if you are unable to replicate your use case: "
    "https://github.com/pytorch/pytorch/issues/new/choose."
)
_SEE = "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


def check_optimizer(optimizer):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def as_number(value):
    return value.item() if isinstance(value, torch.Tensor) else value


def set_option(group, key, value):
    """Sets an option of a parameter group; a tensor keeps its identity."""
    if isinstance(group[key], torch.Tensor):
        group[key].fill_(as_number(value))
    else:
        group[key] = value


def copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


def group_values(optimizer, key):
    """The option `key` of every group, tensors cloned."""
    return [copied(group[key]) for group in optimizer.param_groups]


def per_group(name, value, optimizer):
    """A list with one value for each group."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."
        )
    return value


def call_per_group(lr_lambda, optimizer):
    """One function for each group."""
    count = len(optimizer.param_groups)
    if not isinstance(lr_lambda, (list, tuple)):
        return [lr_lambda] * count
    if len(lr_lambda) != count:
        raise ValueError(f"Expected {count} lr_lambdas, but got {len(lr_lambda)}")
    return list(lr_lambda)


def _note_steps(optimizer):
    """Makes `optimizer.step` leave a note, so that a wrong order of calls can be told."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    owner = weakref.ref(optimizer)
    plain = optimizer.step.__func__

    def step(self, *args, **kwargs):
        owner()._opt_called = True
        return plain(self, *args, **kwargs)

    step.__name__ = plain.__name__
    step.__doc__ = plain.__doc__
    step._wrapped_by_lr_sched = True
    optimizer.step = types.MethodType(step, optimizer)


class LRScheduler:
    """Sets the learning rate of every parameter group, step by step.

    A subclass computes them in `get_lr` from the present ones and `self.last_epoch`; where it has
    a closed form, from `self.base_lrs`, that is `_get_closed_form_lr`.
    """

    _get_lr_called_within_step = False
    _is_initial = False
    _functions = ()  # attributes with functions, which a state dict keeps only if they have state

    def __init__(self, optimizer, last_epoch=-1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    f"scheduler with last_epoch >= 0.\nThis typically happens when:\n"
                    "1. You're trying to resume training from a checkpoint but haven't properly "
                    "loaded the optimizer state\n2. You're using last_epoch >= 0 for a fresh "
                    "training run (not recommended)"
                )
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _note_steps(optimizer)
        self._initial_step()

    def _initial_step(self):
        """Sets the rates of the first epoch."""
        self._step_count = 0
        with self._initially():
            self.step()

    @contextmanager
    def _initially(self):
        self._is_initial = True
        try:
            yield
        finally:
            self._is_initial = False

    def state_dict(self):
        """Everything but the optimizer; functions only if they are objects with state."""
        state = {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        for name in self._functions:
            functions = state.pop(name)
            state[name] = [
                None if isinstance(f, types.FunctionType) else f.__dict__.copy() for f in functions
            ]
        return state

    def load_state_dict(self, state_dict):
        """Takes over what `state_dict()` returned."""
        state = dict(state_dict)
        for name in self._functions:
            saved = state.pop(name)
            for function, attributes in zip(getattr(self, name), saved, strict=False):
                if attributes is not None:
                    function.__dict__.update(attributes)
        self.__dict__.update(state)

    def get_last_lr(self):
        """The learning rates that the last step set."""
        return self._last_lr

    def get_lr(self):
        raise NotImplementedError

    def _current(self):
        return group_values(self.optimizer, "lr")

    def step(self, epoch=None):
        """Goes on to the next epoch and sets its learning rates."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self):
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
                "initialization. Please, make sure to call `optimizer.step()` before "
                f"`lr_scheduler.step()`. {_SEE}",
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch "
                "1.1.0 and later, you should call them in the opposite order: `optimizer.step()` "
                "before `lr_scheduler.step()`.  Failure to do this will result in PyTorch "
                f"skipping the first value of the learning rate schedule. {_SEE}",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch=None):
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                closed_form = getattr(self, "_get_closed_form_lr", self.get_lr)
                rates = closed_form()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self.optimizer.param_groups, rates):
            set_option(group, "lr", rate)
        self._last_lr = self._current()

    def _warn_outside_step(self):
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )


class _LRScheduler(LRScheduler):
    """The name of LRScheduler before PyTorch 2."""
