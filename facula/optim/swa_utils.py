"""Averages of a model's weights: stochastic weight averaging and moving averages."""

import itertools
import math
from copy import deepcopy

import facula as torch
from facula import nn

from .lr_scheduler.base import LRScheduler, per_group

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay):
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _is_real_valued(tensor):
    return tensor.is_floating_point() or tensor.is_complex()


def get_ema_avg_fn(decay=0.999):
    """A function that gives the exponential moving average of one parameter."""
    _check_decay(decay)

    @torch.no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """A function that gives the equally weighted average of one parameter."""

    @torch.no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay=0.999):
    """A function that updates exponential moving averages of many parameters in place."""
    _check_decay(decay)

    @torch.no_grad()
    def ema_update(ema_param_list, current_param_list, _):
        for average, current in zip(ema_param_list, current_param_list, strict=True):
            if _is_real_valued(average):
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn():
    """A function that updates equally weighted averages of many parameters in place."""

    @torch.no_grad()
    def swa_update(averaged_param_list, current_param_list, num_averaged):
        if isinstance(num_averaged, torch.Tensor):
            num_averaged = num_averaged.item()
        weight = 1 / (num_averaged + 1)
        for average, current in zip(averaged_param_list, current_param_list, strict=True):
            if _is_real_valued(average):
                average.lerp_(current, weight)
            else:
                average.add_((current - average) // (num_averaged + 1))

    return swa_update


class AveragedModel(nn.Module):
    """A copy of a model whose parameters are averages of those it has been shown.

    average = AveragedModel(model)
    average.update_parameters(model)  # after every epoch, say
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", torch.tensor(0, dtype=torch.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def update_parameters(self, model):
        """Takes the present parameters of `model` into the average."""
        averages, currents = self._averaged(self.module), self._averaged(model)
        averages = [average.detach() for average in averages]
        currents = [c.detach().to(a.device) for a, c in zip(averages, currents, strict=True)]
        with torch.no_grad():
            if self.n_averaged == 0:
                for average, current in zip(averages, currents, strict=True):
                    average.copy_(current)
            elif self.multi_avg_fn is not None:
                self.multi_avg_fn(averages, currents, self.n_averaged)
            elif self.avg_fn is not None:
                for average, current in zip(averages, currents, strict=True):
                    average.copy_(self.avg_fn(average, current, self.n_averaged))
            else:
                get_swa_multi_avg_fn()(averages, currents, self.n_averaged)
            if not self.use_buffers:  # buffers are not averaged: the copy follows the model
                for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                    mine.detach().copy_(theirs.detach().to(mine.device))
            self.n_averaged += 1

    def _averaged(self, model):
        own = model.module if model is self else model
        if self.use_buffers:
            return list(itertools.chain(own.parameters(), own.buffers()))
        return list(own.parameters())


@torch.no_grad()
def update_bn(loader, model, device=None):
    """Recomputes the running statistics of batch normalisation in one pass over `loader`."""
    norms = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            norms[module] = module.momentum
    if not norms:
        return
    was_training = model.training
    model.train()
    for module in norms:
        module.momentum = None  # a cumulative average
    for batch in loader:
        if isinstance(batch, (list, tuple)):
            batch = batch[0]
        if device is not None:
            batch = batch.to(device)
        model(batch)
    for module, momentum in norms.items():
        module.momentum = momentum
    model.train(was_training)


def _cosine(part):
    return (1 - math.cos(math.pi * part)) / 2


def _linear(part):
    return part


class SWALR(LRScheduler):
    """Anneals the rates to `swa_lr` over `anneal_epochs` epochs and leaves them there.

    scheduler = SWALR(optimizer, swa_lr=0.05)
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        rates = per_group("swa_lr", swa_lr, optimizer)
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    @property
    def anneal_func(self):
        return _cosine if self._anneal_strategy == "cos" else _linear

    def _part(self, step):
        """How far the annealing is at `step`, from 0 to 1."""
        return self.anneal_func(max(0, min(1, step / max(1, self.anneal_epochs))))

    def get_lr(self):
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group in self.optimizer.param_groups:
            # The rate the annealing started from, worked back from the present one.
            start = group["lr"]
            if before != 1:
                start = (group["lr"] - before * group["swa_lr"]) / (1 - before)
            else:
                start = group["swa_lr"]
            rates.append(group["swa_lr"] * now + start * (1 - now))
        return rates
