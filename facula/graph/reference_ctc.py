"""The NumPy meaning of connectionist temporal classification."""

from __future__ import annotations

import numpy as np

from facula.graph.reference import TEMPLATES


def _states(
    targets: np.ndarray, sizes: np.ndarray, blank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sequences, states): labels with blanks around them, which exist, which may be reached past a blank."""
    widest = int(sizes.max(initial=0))
    within = np.arange(widest) < sizes[:, None]
    labels = np.full(within.shape, blank, np.int64)
    # in one row after the other, or each sequence in a row of its own
    labels[within] = targets[:, :widest][within] if targets.ndim == 2 else targets[: within.sum()]
    states = np.full((len(sizes), 2 * widest + 1), blank, np.int64)
    states[:, 1::2] = labels
    there = np.arange(states.shape[1]) <= 2 * sizes[:, None]
    skip = np.zeros(states.shape, bool)
    skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    return states, there, skip


def _sweep(y: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """Log probabilities of all beginnings: (time, sequence, state at which the path stands)."""
    steps, n, states = y.shape
    alpha = np.full((steps, n, states + 2), -np.inf)  # two states in front that nothing reaches
    if steps:
        alpha[0, :, 2:4] = y[0, :, :2]
    barred = np.where(skip, 0.0, -np.inf)
    for t in range(1, steps):
        before = alpha[t - 1]
        ways = before[:, 2:], before[:, 1:-1], before[:, :-2] + barred
        top = np.maximum(np.maximum(ways[0], ways[1]), ways[2])
        base = np.where(top == -np.inf, 0, top)
        total = np.exp(ways[0] - base)
        for way in ways[1:]:
            total += np.exp(way - base)
        np.add(np.log(total, out=total), base, out=total)
        np.add(total, y[t], out=alpha[t, :, 2:])
    return alpha[:, :, 2:]


def ctc(
    log_probs: np.ndarray,
    targets: np.ndarray,
    input_lengths: np.ndarray,
    target_lengths: np.ndarray,
    blank: int,
    zero_infinity: bool,
) -> list[np.ndarray]:
    """Loss of each sequence and its derivative in log_probs, seen through the log softmax.

    Paths are followed for all sequences at once, from the front and, turned round, from the back:
    http://www.cs.toronto.edu/~graves/icml_2006.pdf
    """
    lengths, sizes = input_lengths.astype(np.int64), target_lengths.astype(np.int64)
    steps, n = int(lengths.max(initial=0)), log_probs.shape[1]
    states, there, skip = _states(targets, sizes, blank)
    each, width = np.arange(n), states.shape[1]
    lp = log_probs[:steps].astype(np.float64)
    y = np.where(there, np.take_along_axis(lp, states[None], 2), -np.inf)
    # sequences turned round: times and states by their own lengths
    time = np.maximum(lengths - 1 - np.arange(steps)[:, None], 0)[:, :, None]
    state = np.maximum(2 * sizes[:, None] - np.arange(width), 0)
    turned = time, each[:, None], state
    skip_back = np.zeros_like(skip)
    skip_back[:, 2:] = np.take_along_axis(skip, np.minimum(state + 2, width - 1), 1)[:, 2:]
    with np.errstate(all="ignore"):
        both = np.where(there, y[turned], -np.inf)
        paths = _sweep(np.concatenate([y, both], 1), np.concatenate([skip, skip_back]))
        alpha, beta = paths[:, :n], np.where(there, paths[:, n:][turned], -np.inf)
        total = np.where(sizes == 0, 0.0, -np.inf)
        if steps:
            last = alpha[np.maximum(lengths - 1, 0), each]
            ends = last[each, 2 * sizes], last[each, np.maximum(2 * sizes - 1, 0)]
            found = np.where(sizes > 0, np.logaddexp(*ends), ends[0])
            total = np.where(lengths > 0, found, total)
        # how probable it is that the path stands at a state, then at a label
        stands = np.exp(np.where(there, alpha + beta - total[:, None] - y, -np.inf))
        stands[np.isneginf(alpha + beta)] = 0
        labels = np.zeros((n, width, lp.shape[2]))
        np.put_along_axis(labels, states[:, :, None], 1.0, 2)
        grad = np.exp(lp) - np.matmul(stands.transpose(1, 0, 2), labels).transpose(1, 0, 2)
    grad[np.isneginf(lp)] = np.nan
    grad[:, np.isinf(total)] = 0 if zero_infinity else np.nan
    whole = np.zeros(log_probs.shape)
    whole[:steps] = np.where(np.arange(steps)[:, None, None] < lengths[:, None], grad, 0)
    loss = np.where(zero_infinity & np.isinf(total), 0.0, -total)
    return [loss, whole]


TEMPLATES["ctc"] = ctc
