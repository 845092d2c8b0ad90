"""Calling several modules, each on its own input."""

__all__ = ["parallel_apply"]


def parallel_apply(modules, inputs, kwargs_tup=None, devices=None):
    """The results of modules[i](*inputs[i], **kwargs_tup[i]).

    Calls only record work, so one thread is enough to keep all devices busy.
    """
    if len(modules) != len(inputs):
        raise AssertionError(
            f"The number of modules {len(modules)} is not equal to the number of inputs "
            f"{len(inputs)}"
        )
    kwargs_tup = kwargs_tup if kwargs_tup is not None else ({},) * len(modules)
    results = []
    for module, args, kwargs in zip(modules, inputs, kwargs_tup, strict=True):
        args = args if isinstance(args, (list, tuple)) else (args,)
        results.append(module(*args, **kwargs))
    return results
