"""What happens when a module is called: the bare call, hooks, and the path in errors."""

import copy
import sys
import warnings
import weakref
from collections import OrderedDict

import facula as torch
from facula.running import RUNNING

from .backward_hooks import BackwardHook, first_grad_fn

# True until anything in this process makes some module's call more than its forward.
_plain = True


def leave_plain_calls() -> None:
    """From now on every call looks for hooks."""
    global _plain
    _plain = False


class HookTable(OrderedDict):
    """An ordered dict of hooks; filling one ends the process's hook-free time."""

    def __setitem__(self, key, hook):
        leave_plain_calls()
        super().__setitem__(key, hook)

    def __repr__(self):
        return repr(OrderedDict(self))  # as PyTorch's tables are shown

    def __deepcopy__(self, memo):
        memo[id(self)] = twin = HookTable()
        for key, hook in self.items():
            twin[key] = copy.deepcopy(hook, memo)
        return twin

    def __reduce__(self):
        # Saved as what PyTorch has here, so that either can read the other's files.
        return OrderedDict, (), None, None, iter(self.items())


_global_backward_pre_hooks = HookTable()
_global_backward_hooks = HookTable()
_global_forward_pre_hooks = HookTable()
_global_forward_hooks = HookTable()
_global_forward_hooks_always_called = OrderedDict()
_global_forward_hooks_with_kwargs = OrderedDict()
# One flag for all global backward hooks: "full" and old-style ones do not mix.
_global_backward_kind = {"full": None}


def _has_any_global_hook():
    return bool(
        _global_backward_pre_hooks
        or _global_backward_hooks
        or _global_forward_pre_hooks
        or _global_forward_hooks
        or _global_forward_hooks_always_called
        or _global_forward_hooks_with_kwargs
    )


# -- the path of the module in an error -----------------------------------------

# (id of the exception, its note, the innermost module) of the error now on its way up.
_failing = None


def _path_to(root, wanted):
    """Dotted path of one module below another, or None."""
    if root is wanted:
        return ""
    for name, module in root.named_modules():
        if module is wanted:
            return name
    return None


def _spoken_name(module, frame):
    """The caller's own name for the module ('model'), else that of its class."""
    for name, value in frame.f_locals.items():
        if value is module and name != "self":
            return name
    return type(module).__name__


def _note_path(error, module, frame):
    """Note on the error where it happened; callers further out complete the path."""
    global _failing
    if getattr(error, "path_is_noted", False):  # by the engine: where it was recorded
        return
    notes = getattr(error, "__notes__", None)
    if _failing and _failing[0] == id(error) and notes and _failing[1] in notes:
        origin, at = _failing[2](), notes.index(_failing[1])
        path = None if origin is None else _path_to(module, origin)
        if path is None:
            return
    else:
        error.add_note("")
        origin, path, at = module, "", len(error.__notes__) - 1
    where = _spoken_name(module, frame) + ("." + path if path else "")
    error.__notes__[at] = note = f"in {where} ({type(origin).__name__})"
    _failing = (id(error), note, weakref.ref(origin))


# -- the call ----------------------------------------------------------------------


class CallMixin:
    """`module(x)`: forward, and around it whatever hooks there are."""

    def __call__(self, *args, **kwargs):
        running = RUNNING.modules
        running.append(self)
        try:
            if _plain:
                return self.forward(*args, **kwargs)
            if self._compiled_call_impl is not None:
                return self._compiled_call_impl(*args, **kwargs)
            return self._call_impl(*args, **kwargs)
        except Exception as error:
            _note_path(error, self, sys._getframe(1))
            raise
        finally:
            running.pop()

    def _wrapped_call_impl(self, *args, **kwargs):
        return CallMixin.__call__(self, *args, **kwargs)

    def _call_impl(self, *args, **kwargs):
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _has_any_global_hook()
        ):
            return self.forward(*args, **kwargs)
        called = set()
        try:
            return self._call_with_hooks(args, kwargs, called)
        except Exception:
            self._run_always_called(args, kwargs, called)
            raise

    def _slow_forward(self, *input, **kwargs):
        return self.forward(*input, **kwargs)

    def _call_with_hooks(self, args, kwargs, called):
        full, old_style = self._get_backward_hooks()
        pre = self._get_backward_pre_hooks()
        args, kwargs = self._run_forward_pre_hooks(args, kwargs)
        boundary = BackwardHook(self, full, pre) if full or pre else None
        if boundary:
            args = boundary.setup_input_hook(args)
        result = self.forward(*args, **kwargs)
        result = self._run_forward_hooks(args, kwargs, result, called)
        if boundary:
            result = boundary.setup_output_hook(result)
        if old_style:
            self._hang_old_backward_hooks(old_style, args, result)
        return result

    def _run_forward_pre_hooks(self, args, kwargs):
        own = self._forward_pre_hooks_with_kwargs
        hooks = [(hook, False) for hook in _global_forward_pre_hooks.values()]
        hooks += [(hook, key in own) for key, hook in self._forward_pre_hooks.items()]
        for hook, with_kwargs in hooks:
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _forward_hook_list(self):
        """(key, hook, takes kwargs, is always called), in the order of calling."""
        for key, hook in list(_global_forward_hooks.items()):
            with_kwargs = key in _global_forward_hooks_with_kwargs
            yield key, hook, with_kwargs, key in _global_forward_hooks_always_called
        for key, hook in list(self._forward_hooks.items()):
            with_kwargs = key in self._forward_hooks_with_kwargs
            yield key, hook, with_kwargs, key in self._forward_hooks_always_called

    def _run_forward_hooks(self, args, kwargs, result, called):
        for key, hook, with_kwargs, always in self._forward_hook_list():
            if always:
                called.add(key)
            extra = (kwargs,) if with_kwargs else ()
            changed = hook(self, args, *extra, result)
            if changed is not None:
                result = changed
        return result

    def _run_always_called(self, args, kwargs, called):
        """After a failure: the hooks that want to run even so, with no result to show."""
        for key, hook, with_kwargs, always in self._forward_hook_list():
            if not always or key in called:
                continue
            extra = (kwargs,) if with_kwargs else ()
            try:
                hook(self, args, *extra, None)
            except Exception as error:
                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception that was "
                    "silenced as another error was raised in forward: " + str(error),
                    stacklevel=3,
                )

    def _hang_old_backward_hooks(self, hooks, inputs, result):
        node = first_grad_fn(result)
        if node is None:
            return
        for hook in hooks:
            node.register_hook(_bound_to(hook, self))
        self._maybe_warn_non_full_backward_hook(inputs, result, node)

    def compile(self, *args, **kwargs) -> None:
        """Compile this module's call; parameters and the module itself stay as they are."""
        self._compiled_call_impl = torch.compile(self._call_impl, *args, **kwargs)
        leave_plain_calls()


def _bound_to(hook, module):
    def wrapper(*grads):
        return hook(module, *grads)

    return wrapper
