"""Reading pickles without trusting them, and what a user declares safe."""

import sys
from collections import OrderedDict
from contextlib import contextmanager
from pickle import UnpicklingError

import facula as torch

from .pickle_machine import PickleMachine
from .rebuild import canonical, is_function, known_global, set_attributes
from .storages import StorageRecord

# Never found, whatever a user declares safe.
_BLOCKED = ("sys", "os", "posix", "nt")

_safe = []


def add_safe_globals(safe_globals):
    """Lets checkpoints name these classes and functions, and call them.

    Items are the objects themselves, or (object, "full.name.in.the.file").
    """
    _safe.extend(item for item in safe_globals if item not in _safe)


def get_safe_globals():
    """What `add_safe_globals` has been given."""
    return list(_safe)


def clear_safe_globals():
    """Forgets what `add_safe_globals` has been given."""
    _safe.clear()


@contextmanager
def _safe_for_a_while(added):
    before = list(_safe)
    add_safe_globals(added)
    try:
        yield
    finally:
        _safe[:] = before


class safe_globals:
    """Makes globals safe inside a `with` block.

        with torch.serialization.safe_globals([MyClass]):
    ...     checkpoint = torch.load("checkpoint.pt")
    """

    def __init__(self, safe_globals):
        self._context = _safe_for_a_while(safe_globals)

    def __enter__(self):
        return self._context.__enter__()

    def __exit__(self, *details):
        return self._context.__exit__(*details)


def _full_name(obj):
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", repr(obj))
    return canonical(getattr(obj, "__module__", None) or "builtins", name)


def find_safe(full_name):
    """The object that a user has declared safe under this name, or KeyError."""
    for item in _safe:
        if isinstance(item, tuple):
            if item[1] == full_name:
                return item[0]
        elif _full_name(item) == full_name:
            return item
    loaded = facula_global(full_name)
    for item in _safe:
        if loaded is not None and loaded is (item[0] if isinstance(item, tuple) else item):
            return loaded
    raise KeyError(full_name)


def facula_global(full_name):
    """Facula's object for a name in PyTorch's modules, from what is imported already, or None.

    PyTorch's `torch.nn.modules.linear.Linear` is looked for there, then in the packages above.
    """
    path, _, name = full_name.rpartition(".")
    if path.partition(".")[0] != "torch" or not name.isidentifier():
        return None
    root = torch.__name__
    while path:
        module = sys.modules.get(root + path[len("torch") :])
        found = getattr(module, name, None)
        if found is not None:
            return found
        path = path.rpartition(".")[0]
    return None


def is_safe_object(value):
    return any(value is (item[0] if isinstance(item, tuple) else item) for item in _safe)


class WeightsUnpickler(PickleMachine):
    """Reads a pickle of weights: tensors, numbers, strings and containers of these.

    `load_storage(pid)` supplies the storages.
    """

    def __init__(self, data, load_storage, position=0, encoding="utf-8"):
        super().__init__(data, position, encoding)
        self._load_storage = load_storage
        self.loose_storages = 0  # those that no tensor has been made of

    def persistent(self, pid):
        self.loose_storages += 1
        return self._load_storage(pid)

    def find_global(self, module, name):
        full_name = canonical(module, name)
        if module.partition(".")[0] in _BLOCKED:
            raise UnpicklingError(
                f"Trying to load unsupported GLOBAL {full_name} whose module {module} is blocked."
            )
        try:
            return known_global(full_name)
        except KeyError:
            pass
        try:
            return find_safe(full_name)
        except KeyError:
            raise UnpicklingError(
                f"WeightsUnpickler error: Unsupported global: GLOBAL {full_name} was not an "
                "allowed global by default. Please use "
                f"`torch.serialization.add_safe_globals([{name}])` or the "
                f"`torch.serialization.safe_globals([{name}])` context manager to allowlist this "
                "global if you trust this class/function."
            ) from None

    def call(self, function, args):
        if not (is_function(function) or is_safe_object(function)):
            raise UnpicklingError(
                f"WeightsUnpickler error: Trying to call reduce for unrecognized function "
                f"{_shown(function)}"
            )
        if args and isinstance(args[0], StorageRecord):
            self.loose_storages -= 1
        try:
            return function(*args)
        except (UnpicklingError, MemoryError):
            raise
        except Exception as error:
            raise UnpicklingError(
                f"WeightsUnpickler error: {_shown(function)} failed: {error}"
            ) from error

    def new(self, cls, args, kwargs):
        if not (isinstance(cls, type) and is_safe_object(cls)):
            raise UnpicklingError(
                f"WeightsUnpickler error: Trying to create instances of {_shown(cls)}, which is "
                "not allowed"
            )
        return cls.__new__(cls, *args, **kwargs)

    def build(self, instance, state):
        kind = type(instance)
        if kind is OrderedDict:
            _update_attributes(instance, state)
        elif isinstance(instance, torch.Tensor):
            set_attributes(instance, state)
        elif is_safe_object(kind):
            if hasattr(instance, "__setstate__"):
                instance.__setstate__(state)
            else:
                _update_attributes(instance, state)
        else:
            raise UnpicklingError(
                f"WeightsUnpickler error: Trying to build {kind}, which is not allowed: only "
                "tensors, parameters, OrderedDicts and types allowlisted via "
                "`add_safe_globals` can be"
            )


def _update_attributes(instance, state):
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if type(state) is not dict and state is not None:
        raise UnpicklingError("WeightsUnpickler error: a state is no dict")
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)


def _shown(value):
    return getattr(value, "__qualname__", None) or type(value).__name__
