"""Schedules that move the rate and the momentum against each other."""

import math
import types

from .base import LRScheduler, check_optimizer, per_group, set_option

__all__ = ["CyclicLR", "OneCycleLR"]


def _prepare_momentum(scheduler, optimizer):
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
        )
    scheduler.use_beta1 = "betas" in optimizer.defaults


def _set_momentum(group, momentum, use_beta1):
    if use_beta1:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class CyclicLR(LRScheduler):
    """Moves the rate up and down between two bounds, and the momentum down and up.

    scheduler = CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, step_size_up=500)
    """

    # How the height of a cycle changes: mode -> (function of x and gamma, what x counts).
    _MODES = {
        "triangular": (lambda x, gamma: 1.0, "cycle"),
        "triangular2": (lambda x, gamma: 1 / (2.0 ** (x - 1)), "cycle"),
        "exp_range": (lambda x, gamma: gamma**x, "iterations"),
    }

    def __init__(
        self,
        optimizer,
        base_lr,
        max_lr,
        step_size_up=2000,
        step_size_down=None,
        mode="triangular",
        gamma=1.0,
        scale_fn=None,
        scale_mode="cycle",
        cycle_momentum=True,
        base_momentum=0.8,
        max_momentum=0.9,
        last_epoch=-1,
    ):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for base, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_option(group, "lr", base)
        self.max_lrs = per_group("max_lr", max_lr, optimizer)
        up = float(step_size_up)
        down = float(step_size_down) if step_size_down is not None else up
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in self._MODES and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else self._MODES[mode][1]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            _prepare_momentum(self, optimizer)
            self.base_momentums = per_group("base_momentum", base_momentum, optimizer)
            self.max_momentums = per_group("max_momentum", max_momentum, optimizer)
            if last_epoch == -1:
                for low, high, group in zip(
                    self.base_momentums, self.max_momentums, optimizer.param_groups, strict=True
                ):
                    _set_momentum(group, high, self.use_beta1)
                    group["max_momentum"] = high
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """The relative height of a cycle (or of a step, by `scale_mode`)."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return self._MODES[self.mode][0](x, self.gamma)

    def get_lr(self):
        self._warn_outside_step()
        position = 1 + self.last_epoch / self.total_size
        cycle = math.floor(position)
        x = position - cycle
        if x <= self.step_ratio:
            scale = x / self.step_ratio
        else:
            scale = (x - 1) / (self.step_ratio - 1)
        height = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for low, high, group in zip(
                self.base_momentums,
                self.max_momentums,
                self.optimizer.param_groups,
                strict=True,
            ):
                momentum = high - (high - low) * scale * height
                _set_momentum(group, momentum, self.use_beta1)
        return [
            base + (top - base) * scale * height
            for base, top in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self):
        state = super().state_dict()
        custom = state.pop("_scale_fn_custom")
        state["_scale_fn_custom"] = None
        if custom is not None and not isinstance(custom, types.FunctionType):
            state["_scale_fn_custom"] = custom.__dict__.copy()
        return state

    def load_state_dict(self, state_dict):
        state = dict(state_dict)
        attributes = state.pop("_scale_fn_custom")
        super().load_state_dict(state)
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)


def _cosine(start, end, part):
    return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _linear(start, end, part):
    return (end - start) * part + start


_ANNEALING = {"cos": _cosine, "linear": _linear}


class OneCycleLR(LRScheduler):
    """One rise to `max_lr` and one long fall, over the whole of a training.

    scheduler = OneCycleLR(optimizer, max_lr=0.1, epochs=10, steps_per_epoch=len(loader))
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
        last_epoch=-1,
    ):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in _ANNEALING:
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_func_type = anneal_strategy
        tops = per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for top, group in zip(tops, optimizer.param_groups, strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            _prepare_momentum(self, optimizer)
            highs = per_group("max_momentum", max_momentum, optimizer)
            lows = per_group("base_momentum", base_momentum, optimizer)
            if last_epoch == -1:
                for low, high, group in zip(lows, highs, optimizer.param_groups, strict=True):
                    _set_momentum(group, high, self.use_beta1)
                    group["max_momentum"] = high
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        phase, part = self._position(step)
        anneal = _ANNEALING[self._anneal_func_type]
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(anneal(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                momentum = anneal(
                    group[phase["start_momentum"]], group[phase["end_momentum"]], part
                )
                _set_momentum(group, momentum, self.use_beta1)
        return rates

    def _position(self, step):
        """(the phase that `step` lies in, how much of it has passed)."""
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if step <= end or phase is self._schedule_phases[-1]:
                return phase, (step - start) / (end - start)
            start = end
        raise AssertionError("a schedule has phases")


def _total_steps(total_steps, epochs, steps_per_epoch):
    def positive(name, value, kinds=int):
        if value <= 0 or not isinstance(value, kinds):
            raise ValueError(f"Expected positive integer {name}, but got {value}")

    if total_steps is not None:
        positive("total_steps", total_steps)
        return total_steps
    if epochs is None or steps_per_epoch is None:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    positive("epochs", epochs)
    positive("steps_per_epoch", steps_per_epoch)
    return epochs * steps_per_epoch


def _phase(end_step, start, end, momentum_start, momentum_end):
    return {
        "end_step": end_step,
        "start_lr": start,
        "end_lr": end,
        "start_momentum": momentum_start,
        "end_momentum": momentum_end,
    }


def _phases(steps, pct_start, three_phase):
    """What goes from where to where, by the names of the options of a group."""
    high, low = "max_momentum", "base_momentum"
    up = float(pct_start * steps) - 1
    if not three_phase:
        return [
            _phase(up, "initial_lr", "max_lr", high, low),
            _phase(steps - 1, "max_lr", "min_lr", low, high),
        ]
    return [
        _phase(up, "initial_lr", "max_lr", high, low),
        _phase(float(2 * pct_start * steps) - 2, "max_lr", "initial_lr", low, high),
        _phase(steps - 1, "initial_lr", "min_lr", high, high),
    ]
