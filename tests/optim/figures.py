"""Runs that tests compare with figures from PyTorch 2.13, and the optimizers they are for.

The figures in test_optimizers.py and test_schedulers.py were printed by running `path` and `rates`
below with PyTorch as `torch`.
"""

# (class, options); parameters are the 2×2 matrix [[1, -2], [3, 0.5]] in double precision.
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.5)}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {"lr": 10.0, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 2}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
]

SCHEDULERS = [
    ("LambdaLR", (lambda epoch: 0.9**epoch,), {}),
    ("MultiplicativeLR", (lambda epoch: 0.9,), {}),
    ("StepLR", (3,), {"gamma": 0.5}),
    ("MultiStepLR", ([2, 5, 5],), {}),
    ("ConstantLR", (), {"total_iters": 3}),
    ("LinearLR", (), {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 6}),
    ("ExponentialLR", (0.9,), {}),
    ("PolynomialLR", (), {"total_iters": 6, "power": 2.0}),
    ("CosineAnnealingLR", (4,), {"eta_min": 0.1}),
    ("CosineAnnealingWarmRestarts", (2,), {"T_mult": 2}),
    ("CyclicLR", (0.1, 1.0), {"step_size_up": 2, "step_size_down": 3, "mode": "triangular2"}),
    ("OneCycleLR", (1.0,), {"total_steps": 8}),
    ("OneCycleLR", (1.0,), {"total_steps": 8, "three_phase": True, "anneal_strategy": "linear"}),
]


def path(torch, name, options, steps=3):
    """The parameter after some steps, as four numbers."""
    param = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name)([param], **options)
    for step in range(steps):
        param.grad = (param.detach() - 1.5) * (1.0 - 0.7 * step)
        optimizer.step()
    return [round(value, 9) for row in param.tolist() for value in row]


def rates(torch, name, args, options, steps=8):
    """The learning rates of the first steps."""
    param = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([param], lr=1.0, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, *args, **options)
    seen = [scheduler.get_last_lr()[0]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        seen.append(scheduler.get_last_lr()[0])
    return [round(rate, 9) for rate in seen]
