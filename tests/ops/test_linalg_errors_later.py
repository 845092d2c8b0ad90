"""A singular matrix is told of where somebody waits for it, and else when values are looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

import facula as torch
from facula.engine import Counters
from facula.graph.handlers import nobody_waits

PROGRAM = """
import facula as torch
from facula.engine import Counters

a = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
before = Counters.plans_run
x = torch.linalg.inv(a)
y = torch.linalg.solve(a, torch.ones(2))
z = torch.linalg.cholesky(a - 3)
good = torch.linalg.inv(torch.eye(2) * 2)
print("looked at nothing", Counters.plans_run == before)
for value in (x, y, z, good):
    try:
        print(value.tolist())
    except RuntimeError as error:
        print(type(error).__name__, str(error)[:40], *getattr(error, "__notes__", ()))
try:
    torch.linalg.inv(a)
except torch.linalg.LinAlgError as error:
    print("at once", str(error)[:40])
"""


def test_without_a_handler_errors_come_later():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "looked at nothing True"
    assert lines[1].startswith("_LinAlgError linalg.inv: ")  # the other two are lost with it
    assert lines[1].endswith("recorded at <string>:7, in <module>")
    assert lines[4] == "[[0.5, 0.0], [0.0, 0.5]]"  # does not depend on what failed
    assert lines[5].startswith("at once linalg.inv: The diagonal element 2 is ze")


def test_a_handler_gets_the_error_at_once():
    def jittered(k):
        try:
            return torch.linalg.cholesky(k)
        except torch.linalg.LinAlgError:
            return torch.linalg.cholesky(k + 2 * torch.eye(2))

    assert torch.allclose(jittered(torch.zeros(2, 2)), 2**0.5 * torch.eye(2))
    before = Counters.plans_run
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.solve(torch.zeros(2, 2), torch.ones(2))
    assert Counters.plans_run > before


def test_who_waits():
    assert not nobody_waits()  # pytest does


def test_derivatives_of_checked_results():
    a = torch.tensor([[2.0, 1.0], [0.0, 4.0]], requires_grad=True)
    torch.linalg.inv(a).sum().backward()
    inverse = torch.tensor([[0.5, -0.125], [0.0, 0.25]])
    assert torch.allclose(a.grad, -(inverse.T @ torch.ones(2, 2) @ inverse.T))
