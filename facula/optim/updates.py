"""The arithmetic of every optimizer: one function per rule, for one parameter.

All of them change the parameter and its state in place. Numbers that change from step to step
(learning rates, bias corrections) come in as Python numbers; only where gradients flow through an
update (`differentiable=True`) may they be tensors. The order of the operations is part of the
results: it decides how they round.
"""

import facula as torch


def _is_tensor(value):
    return isinstance(value, torch.Tensor)


def add_scaled(param, update, factor):
    """param += factor * update, for a number or a tensor as factor."""
    if _is_tensor(factor):
        param.addcmul_(update, factor)
    else:
        param.add_(update, alpha=factor)


def add_ratio(param, numerator, denominator, factor):
    """param += factor * numerator / denominator, for a number or a tensor as factor."""
    if _is_tensor(factor):
        param.addcdiv_(factor * numerator, denominator)
    else:
        param.addcdiv_(numerator, denominator, value=factor)


def _with_decay(grad, param, weight_decay):
    """The gradient of the loss with its penalty on large weights."""
    if _is_tensor(weight_decay):
        return grad.addcmul(param, weight_decay)
    return grad.add(param, alpha=weight_decay)


def effective_gradient(param, grad, weight_decay, maximize):
    if maximize:
        grad = -grad
    if _is_tensor(weight_decay) or weight_decay != 0:
        grad = _with_decay(grad, param, weight_decay)
    return grad


def sgd(param, grad, buf, *, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """Returns the momentum buffer, which starts as the first gradient."""
    grad = effective_gradient(param, grad, weight_decay, maximize)
    if momentum != 0:
        if buf is None:
            buf = grad.detach().clone()
        else:
            buf.mul_(momentum).add_(grad, alpha=1 - dampening)
        grad = grad.add(buf, alpha=momentum) if nesterov else buf
    add_scaled(param, grad, -lr)
    return buf


def _lerp_moments(grad, exp_avg, exp_avg_sq, beta1, beta2):
    exp_avg.lerp_(grad, 1 - beta1)
    if _is_tensor(beta2):
        exp_avg_sq.mul_(beta2).add_(grad * grad * (1 - beta2))
    else:
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)


def adam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    *,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    maximize,
    correction1,
    root_correction2,
):
    """Adam and AdamW; `max_exp_avg_sq` is None without amsgrad."""
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled:
            param.mul_(1 - lr * weight_decay)
        else:
            grad = grad.add(param, alpha=weight_decay)
    _lerp_moments(grad, exp_avg, exp_avg_sq, beta1, beta2)
    second = exp_avg_sq
    if max_exp_avg_sq is not None:
        max_exp_avg_sq.copy_(max_exp_avg_sq.maximum(exp_avg_sq))
        second = max_exp_avg_sq
    denom = (second.sqrt() / root_correction2).add_(eps)
    add_ratio(param, exp_avg, denom, -(lr / correction1))


def nadam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    maximize,
    correction2,
    grad_weight,
    momentum_weight,
):
    """`grad_weight` and `momentum_weight` are the shares of the two terms of Nesterov's step."""
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled:
            param.mul_(1 - lr * weight_decay)
        else:
            grad = grad.add(param, alpha=weight_decay)
    _lerp_moments(grad, exp_avg, exp_avg_sq, beta1, beta2)
    denom = exp_avg_sq.div(correction2).sqrt().add_(eps)
    add_ratio(param, grad, denom, -lr * grad_weight)
    add_ratio(param, exp_avg, denom, -lr * momentum_weight)


def radam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    maximize,
    correction1,
    root_correction2,
    rectification,
):
    """`rectification` is None while the variance of the adaptive rate is intractable."""
    if maximize:
        grad = -grad
    if weight_decay != 0:
        if decoupled:
            param.mul_(1 - lr * weight_decay)
        else:
            grad = grad.add(param, alpha=weight_decay)
    _lerp_moments(grad, exp_avg, exp_avg_sq, beta1, beta2)
    update = exp_avg / correction1 * lr
    if rectification is not None:
        update = update * (root_correction2 / exp_avg_sq.sqrt().add_(eps)) * rectification
    param.add_(update, alpha=-1)


def adamax(
    param, grad, exp_avg, exp_inf, *, lr, beta1, beta2, eps, weight_decay, maximize, correction1
):
    grad = effective_gradient(param, grad, weight_decay, maximize)
    exp_avg.lerp_(grad, 1 - beta1)
    exp_inf.copy_((exp_inf * beta2).maximum(grad.abs().add_(eps)))
    add_ratio(param, exp_avg, exp_inf, -(lr / correction1))


def adagrad(param, grad, state_sum, *, lr, eps, weight_decay, maximize):
    grad = effective_gradient(param, grad, weight_decay, maximize)
    state_sum.addcmul_(grad, grad, value=1)
    add_ratio(param, grad, state_sum.sqrt().add_(eps), -lr)


def adagrad_sparse(param, grad, state_sum, *, lr, eps, maximize):
    """Only the rows that the sparse gradient names are read and written."""
    grad = (-grad if maximize else grad).coalesce()
    indices, values = grad.indices(), grad.values()
    if values.numel() == 0:
        return
    rows = tuple(indices)
    sums = state_sum[rows].add_(values.pow(2))
    state_sum.index_put_(rows, sums)
    step = values / sums.sqrt().add_(eps)
    param.index_put_(rows, param[rows].add_(step, alpha=-lr))


def adadelta(param, grad, square_avg, acc_delta, *, lr, rho, eps, weight_decay, maximize):
    grad = effective_gradient(param, grad, weight_decay, maximize)
    square_avg.mul_(rho).addcmul_(grad, grad, value=1 - rho)
    std = square_avg.add(eps).sqrt_()
    delta = acc_delta.add(eps).sqrt_().div_(std).mul_(grad)
    acc_delta.mul_(rho).addcmul_(delta, delta, value=1 - rho)
    add_scaled(param, delta, -lr)


def rmsprop(
    param, grad, square_avg, grad_avg, buf, *, lr, alpha, eps, weight_decay, momentum, maximize
):
    """`grad_avg` is None unless centered, `buf` is None without momentum."""
    grad = effective_gradient(param, grad, weight_decay, maximize)
    square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
    if grad_avg is None:
        avg = square_avg.sqrt()
    else:
        grad_avg.lerp_(grad, 1 - alpha)
        avg = square_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt_()
    avg = avg.add_(eps)
    if buf is None:
        add_ratio(param, grad, avg, -lr)
    else:
        buf.mul_(momentum).addcdiv_(grad, avg)
        add_scaled(param, buf, -lr)


def rprop(param, grad, prev, step_size, *, eta_minus, eta_plus, least, most, maximize):
    if maximize:
        grad = -grad
    agreement = grad.mul(prev)
    turned = agreement < 0
    scale = torch.where(agreement > 0, eta_plus, torch.where(turned, eta_minus, 1.0))
    step_size.mul_(scale.to(step_size.dtype)).clamp_(least, most)
    grad = grad.masked_fill(turned, 0)  # where the sign turned, no step this time
    param.addcmul_(grad.sign(), step_size, value=-1)
    prev.copy_(grad)


def asgd(param, grad, ax, *, lambd, eta, mu, weight_decay, maximize):
    grad = effective_gradient(param, grad, weight_decay, maximize)
    param.mul_(1 - lambd * eta)
    add_scaled(param, grad, -eta)
    if mu == 1:
        ax.copy_(param)
    else:
        ax.add_(param.sub(ax).mul_(mu))


def adafactor(
    param,
    grad,
    row_var,
    col_var,
    variance,
    *,
    lr,
    relative_step,
    eps1,
    eps2,
    d,
    weight_decay,
    variance_weight,
    maximize,
):
    """Matrices keep a row and a column of second moments, everything else all of them."""
    if maximize:
        grad = -grad
    scale = (param.norm(2) / param.numel() ** 0.5).clamp(min=eps2)
    if weight_decay != 0:
        param.mul_(1 - lr * weight_decay)
    if grad.dim() > 1:
        row_var.lerp_(
            grad.norm(2, dim=-1, keepdim=True).square_().div_(grad.size(-1)), variance_weight
        )
        col_var.lerp_(
            grad.norm(2, dim=-2, keepdim=True).square_().div_(grad.size(-2)), variance_weight
        )
        estimate = row_var @ col_var
        estimate.div_(row_var.mean(dim=-2, keepdim=True).clamp_(min=eps1))
    else:
        variance.lerp_(grad * grad, variance_weight)
        estimate = variance.clone()
    update = estimate.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
    clip = (update.norm(2) / (update.numel() ** 0.5 * d)).clamp(min=1.0)
    param.addcmul_(update, scale * -relative_step / clip)


def orthogonalized(matrix, coefficients, steps, eps):
    """The matrix with its singular values near 1, by steps of a quintic Newton-Schulz iteration."""
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16()
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        poly = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, poly, x, beta=a)
    return x.T if tall else x


def muon(
    param,
    grad,
    buf,
    *,
    lr,
    rate,
    weight_decay,
    momentum,
    nesterov,
    ns_coefficients,
    ns_steps,
    eps,
):
    """`rate` is the learning rate adjusted for the shape of the matrix."""
    buf.lerp_(grad, 1 - momentum)
    update = grad.lerp(buf, momentum) if nesterov else buf
    update = orthogonalized(update, ns_coefficients, ns_steps, eps)
    param.mul_(1 - lr * weight_decay)
    param.add_(update, alpha=-rate)


def sparse_adam(
    param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, correction1, correction2, maximize
):
    """Adam on the rows that a sparse gradient names; other rows are not even decayed."""
    grad = (-grad if maximize else grad).coalesce()
    indices, values = grad.indices(), grad.values()
    if values.numel() == 0:
        return
    rows = tuple(indices)
    old = exp_avg[rows]
    first = old + (values - old).mul_(1 - beta1)
    exp_avg.index_put_(rows, first)
    old = exp_avg_sq[rows]
    second = old + (values.pow(2) - old).mul_(1 - beta2)
    exp_avg_sq.index_put_(rows, second)
    step = first / second.sqrt().add_(eps)
    rate = lr * correction2**0.5 / correction1
    param.index_put_(rows, param[rows].add_(step, alpha=-rate))
