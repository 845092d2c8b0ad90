"""Line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """A point on the line: its distance, the loss and gradient there, the slope of the loss."""

    t: float
    loss: float
    grad: Any
    slope: Any


def cubic_minimum(a, b, bounds=None):
    """Where the cubic through two points with these slopes is least, kept within bounds."""
    low, high = bounds or sorted((a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    discriminant = mean * mean - a.slope * b.slope
    if discriminant < 0:
        return (low + high) / 2.0
    root = discriminant**0.5
    best = b.t - (b.t - a.t) * ((b.slope + root - mean) / (b.slope - a.slope + 2 * root))
    return min(max(best, low), high)


def strong_wolfe(
    evaluate,
    t,
    direction,
    loss,
    grad,
    slope,
    *,
    decrease=1e-4,
    curvature=0.9,
    tolerance=1e-9,
    most=25,
):
    """Finds a step with enough decrease and little slope; returns (loss, grad, t, evaluations).

    `evaluate(t)` gives (loss, gradient) at distance t along `direction`.
    """
    search = _Search(evaluate, direction, Point(0, loss, grad.clone(), float(slope)))
    search.decrease, search.curvature, search.tolerance = decrease, curvature, tolerance
    bracket, done, steps = search.bracket(t, most)
    best = search.zoom(bracket, done, steps, most)
    return best.loss, best.grad, best.t, search.evaluations


class _Search:
    def __init__(self, evaluate, direction, start):
        self._evaluate = evaluate
        self.direction = direction
        self.reach = float(direction.abs().max())
        self.start = start
        self.evaluations = 0

    def at(self, t):
        loss, grad = self._evaluate(t)
        self.evaluations += 1
        return Point(t, loss, grad, float(grad.dot(self.direction)))

    def too_high(self, point):
        return point.loss > self.start.loss + self.decrease * point.t * self.start.slope

    def flat_enough(self, point):
        return abs(point.slope) <= -self.curvature * self.start.slope

    def bracket(self, t, most):
        """Goes out until a good step lies between two points: (points, found it, steps)."""
        last, point = self.start, self.at(t)
        for step in range(most):
            if self.too_high(point) or (step > 1 and point.loss >= last.loss):
                return [last, point], False, step
            if self.flat_enough(point):
                return [point], True, step
            if point.slope >= 0:
                return [last, point], False, step
            bounds = (point.t + 0.01 * (point.t - last.t), point.t * 10)
            last, point = point, self.at(cubic_minimum(last, point, bounds))
        return [self.start, point], False, most

    def zoom(self, bracket, done, steps, most):
        """Shrinks the bracket around a good step; returns the best point found."""
        if len(bracket) == 1:
            return bracket[0]
        low, high = sorted(bracket, key=lambda point: point.loss)
        stalled = False
        while not done and steps < most:
            if abs(high.t - low.t) * self.reach < self.tolerance:
                break
            t, stalled = self._next(low, high, stalled)
            point = self.at(t)
            steps += 1
            if self.too_high(point) or point.loss >= low.loss:
                low, high = sorted((low, point), key=lambda p: p.loss)
            else:
                if self.flat_enough(point):
                    done = True
                elif point.slope * (high.t - low.t) >= 0:
                    high = low
                low = point
        return low

    @staticmethod
    def _next(low, high, stalled):
        """(t, stalled): the cubic's minimum, moved off the ends if it comes near them twice."""
        t = cubic_minimum(low, high)
        left, right = sorted((low.t, high.t))
        margin = 0.1 * (right - left)
        if min(right - t, t - left) >= margin:
            return t, False
        if stalled or t >= right or t <= left:
            return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
        return t, True
