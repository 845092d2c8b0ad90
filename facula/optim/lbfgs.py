"""L-BFGS."""

import facula as torch

from .line_search import strong_wolfe
from .optimizer import Optimizer
from .rule import check_lr, number

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """Limited-memory BFGS; `step` needs a closure that computes the loss and its gradients.

    optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    optimizer.step(closure)
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter=20,
        max_eval=None,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        history_size=100,
        line_search_fn=None,
    ):
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def step(self, closure):
        """Runs up to `max_iter` iterations; returns the loss before the first of them."""
        with torch.no_grad():
            return self._step(torch.enable_grad()(closure))

    # -- the parameters as one vector ------------------------------------------

    def _flat_grad(self):
        parts = []
        for param in self._params:
            grad = param.grad
            if grad is None:
                part = param.new_zeros(param.numel())
            elif grad.is_sparse:
                part = grad.to_dense().view(-1)
            else:
                part = grad.reshape(-1)
            parts.append(torch.view_as_real(part).view(-1) if part.is_complex() else part)
        return torch.cat(parts, 0)

    def _move(self, rate, direction):
        offset = 0
        for param in self._params:
            real = torch.view_as_real(param) if param.is_complex() else param
            size = real.numel()
            real.add_(direction[offset : offset + size].view_as(real), alpha=rate)
            offset += size

    def _evaluate_at(self, closure, start, rate, direction):
        """(loss, gradient) at start + rate * direction; the parameters are put back."""
        self._move(rate, direction)
        loss = float(closure())
        grad = self._flat_grad()
        for param, value in zip(self._params, start, strict=True):
            param.copy_(value)
        return loss, grad

    # -- one step -----------------------------------------------------------------

    def _step(self, closure):
        group = self.param_groups[0]
        lr = group["lr"]
        # Counts are kept with the first parameter, as checkpoints have them.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        grad = self._flat_grad()
        if grad.abs().max() <= group["tolerance_grad"]:
            return first_loss

        memory = _Memory(state, group["history_size"])
        rate, prev_loss = state.get("t"), state.get("prev_loss")
        iterations = 0
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            direction = memory.direction(grad, rate, state["n_iter"] == 1)
            memory.prev_grad = grad.clone()
            prev_loss = loss
            rate = min(1.0, 1.0 / grad.abs().sum()) * lr if state["n_iter"] == 1 else lr

            slope = grad.dot(direction)
            if slope > -group["tolerance_change"]:
                break
            spent = 0
            if group["line_search_fn"] is None:
                self._move(number(rate), direction)
                if iterations != group["max_iter"]:
                    loss = float(closure())
                    grad = self._flat_grad()
                    spent = 1
            elif group["line_search_fn"] == "strong_wolfe":
                start = [param.clone() for param in self._params]

                def evaluate(t, start=start, direction=direction):
                    return self._evaluate_at(closure, start, t, direction)

                most = group["max_eval"] - evaluations
                loss, grad, rate, spent = strong_wolfe(
                    evaluate, number(rate), direction, loss, grad, slope, most=most
                )
                self._move(rate, direction)
            else:
                raise RuntimeError("only 'strong_wolfe' is supported")
            evaluations += spent
            state["func_evals"] += spent

            if (
                evaluations >= group["max_eval"]
                or grad.abs().max() <= group["tolerance_grad"]
                or direction.mul(rate).abs().max() <= group["tolerance_change"]
                or abs(loss - prev_loss) < group["tolerance_change"]
            ):
                break

        state["d"] = memory.last_direction
        state["t"] = rate
        memory.store(state)
        state["prev_loss"] = prev_loss
        return first_loss


class _Memory:
    """The last steps and gradient changes, which stand in for the inverse Hessian."""

    def __init__(self, state, size):
        self.size = size
        self.steps = state.get("old_stps")
        self.changes = state.get("old_dirs")
        self.ro = state.get("ro")
        self.scale = state.get("H_diag")
        self.prev_grad = state.get("prev_flat_grad")
        self.last_direction = state.get("d")
        self._state = state

    def direction(self, grad, rate, first):
        """The direction to search from `grad`, after learning from the last step."""
        if first:
            self.steps, self.changes, self.ro, self.scale = [], [], [], 1
            self.last_direction = grad.neg()
            return self.last_direction
        change = grad.sub(self.prev_grad)
        step = self.last_direction.mul(rate)
        curvature = change.dot(step)
        if curvature > 1e-10:
            if len(self.changes) == self.size:
                for column in (self.changes, self.steps, self.ro):
                    column.pop(0)
            self.changes.append(change)
            self.steps.append(step)
            self.ro.append(1.0 / curvature)
            self.scale = curvature / change.dot(change)
        self.last_direction = self._inverse_hessian_times(grad.neg())
        return self.last_direction

    def _inverse_hessian_times(self, vector):
        """The two loops of L-BFGS. Nothing is looked at on the way, so that they are one evaluation."""
        weights = self._state.setdefault("al", [None] * self.size)
        for i in range(len(self.changes) - 1, -1, -1):
            weights[i] = self.steps[i].dot(vector) * self.ro[i]
            vector = vector.addcmul(self.changes[i], weights[i], value=-1)
        vector = torch.mul(vector, self.scale)
        for i in range(len(self.changes)):
            weight = self.changes[i].dot(vector) * self.ro[i]
            vector = vector.addcmul(self.steps[i], weights[i] - weight)
        return vector

    def store(self, state):
        state["old_dirs"] = self.changes
        state["old_stps"] = self.steps
        state["ro"] = self.ro
        state["H_diag"] = self.scale
        state["prev_flat_grad"] = self.prev_grad
