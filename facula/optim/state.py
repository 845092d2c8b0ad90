"""What an optimizer remembers about one parameter.

PyTorch keeps step counts (and a few other numbers) as 0-d tensors in an optimizer's state. Here
they are Python numbers until somebody looks at them: bias corrections then need no evaluation, and
a step records nothing for them.
"""

import numpy as np

import facula as torch


class HostNumber:
    """A number of the state that turns into a tensor when it is looked at.

    Once it was looked at, the tensor is kept up to date in place, and what is written into the
    tensor counts, as if it had been there from the start.
    """

    __slots__ = ("_tensor", "_value", "_version", "dtype")

    def __init__(self, value, dtype):
        self.dtype = dtype
        self._value = value
        self._tensor = None
        self._version = 0

    @property
    def value(self):
        tensor = self._tensor
        if tensor is not None and tensor._version != self._version:
            self._value = tensor.item()
            self._version = tensor._version
        return self._value

    def set(self, value):
        """Rounds `value` to the dtype, stores it and returns it."""
        if self.dtype is torch.float32:
            value = float(np.float32(value))
        self._value = value
        if self._tensor is not None:
            with torch.no_grad():
                self._tensor.fill_(value)
            self._version = self._tensor._version
        return value

    def increment(self):
        if self._tensor is None:  # the usual case: nobody looked
            self._value = value = self._value + 1
            return value
        return self.set(self.value + 1)

    def tensor(self):
        if self._tensor is None:
            self._tensor = torch.tensor(self._value, dtype=self.dtype)
            self._version = self._tensor._version
        return self._tensor

    def show_in(self, tensor):
        """Makes `tensor` the one that shows the number."""
        self._tensor = tensor
        self._version = tensor._version

    def snapshot(self):
        """A tensor of its own with the present value."""
        return torch.tensor(self.value, dtype=self.dtype)


def scalar_dtype():
    """The dtype of the numbers in a state."""
    return torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32


def advance(step):
    """Adds one to a step count, a HostNumber or a tensor, and returns it as a Python number."""
    if type(step) is HostNumber:
        return step.increment()
    step.add_(1)
    return step.item()


def read(number):
    """The Python number behind a HostNumber, a one-element tensor or a number."""
    if type(number) is HostNumber:
        return number.value
    return number.item() if isinstance(number, torch.Tensor) else number


def write(number, value):
    """Stores a Python number into a HostNumber or a tensor; returns it as stored."""
    if type(number) is HostNumber:
        return number.set(value)
    number.fill_(value)
    return number.item()


def _shown(value):
    return value.tensor() if type(value) is HostNumber else value


class ParamState(dict):
    """The state of one parameter: a dict whose HostNumbers are read as tensors.

    Optimizers read the raw entries with `dict.get`.
    """

    __slots__ = ()

    def __getitem__(self, key):
        return _shown(dict.__getitem__(self, key))

    def get(self, key, default=None):
        return _shown(dict.get(self, key, default))

    def pop(self, key, *default):
        return _shown(dict.pop(self, key, *default))

    def setdefault(self, key, default=None):
        return _shown(dict.setdefault(self, key, default))

    def __iter__(self):  # an overridden __iter__ makes dict(state) read through __getitem__
        return dict.__iter__(self)

    def values(self):
        return [_shown(value) for value in dict.values(self)]

    def items(self):
        return [(key, _shown(value)) for key, value in dict.items(self)]

    def copy(self):
        return dict(self.items())

    def snapshot(self):
        """A plain dict with the present numbers as tensors of their own."""
        return {
            key: value.snapshot() if type(value) is HostNumber else value
            for key, value in dict.items(self)
        }

    def __reduce__(self):
        return dict, (self.snapshot(),)

    def __deepcopy__(self, memo):
        import copy

        return copy.deepcopy(self.snapshot(), memo)

    def __repr__(self):
        return repr(self.copy())


def adopted(state, host_numbers, live=False):
    """A ParamState with the entries of a plain dict, as loaded or set by a user.

    With `live`, the tensors of the dict go on to show the numbers.
    """
    own = ParamState(state)
    for key in host_numbers:
        value = dict.get(own, key)
        if type(value) in (int, float):  # as PyTorch kept them before 1.12
            dict.__setitem__(own, key, HostNumber(float(value), scalar_dtype()))
        elif isinstance(value, torch.Tensor) and value.device.type == "cpu":
            number = HostNumber(value.item(), value.dtype)
            if live:
                number.show_in(value)
            dict.__setitem__(own, key, number)
    return own
