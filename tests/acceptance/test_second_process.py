"""A second process finds every kernel of the demo's first steps on disk: it compiles nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# one batch through `train`, for both networks of the demo, in the order in which it trains them
STEPS = """
import contextlib, io, json
import facula as torch, facula.nn as nn
from facula.demo import __main__ as demo
from facula.runtime.jit import stats
torch.manual_seed(0)
images, labels = demo.load(None, train=True)[:64]
data = torch.utils.data.TensorDataset(images, labels)
losses = []
with contextlib.redirect_stdout(io.StringIO()):
    for name, model in ("MLP", nn.Sequential(nn.Flatten(), demo.MyTinyNet())), ("CNN", demo.SmallCNN()):
        losses += demo.train(name, model, data, epochs=2)
print(json.dumps([stats.compiled, stats.loaded_from_disk, losses]))
"""


def steps(cache: Path) -> list:
    environment = os.environ | {"FACULA_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_compiles_nothing(tmp_path):
    compiled, loaded, first = steps(tmp_path)
    assert compiled > 10 and loaded == 0
    again, found, second = steps(tmp_path)
    assert again == 0
    assert found == compiled  # the very kernels of the first
    assert second == first
