"""DataLoader with worker processes: order, seeds, errors, deaths."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import facula
from facula.utils import data
from facula.utils.data import DataLoader, get_worker_info

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Numbers(data.Dataset):
    """0..n-1; `trouble(i)` runs before each."""

    def __init__(self, n=8, trouble=None):
        self.n, self.trouble = n, trouble

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.trouble is not None:
            self.trouble(i)
        return i


class Stream(data.IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        step = info.num_workers if info else 1
        return iter(range(info.id if info else 0, 10, step))


def lists(loader):
    return [batch.tolist() for batch in loader]


def test_batches_come_in_order():
    facula.manual_seed(0)
    loader = DataLoader(range(10), batch_size=4, shuffle=True, num_workers=2)
    assert lists(loader) == [[6, 7, 1, 4], [2, 0, 9, 8], [3, 5]]


def test_iterable_datasets_are_shared_out():
    loader = DataLoader(Stream(), batch_size=2, num_workers=2)
    assert lists(loader) == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]
    loader = DataLoader(Stream(), batch_size=2, num_workers=2, in_order=False)
    assert sorted(lists(loader)) == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]


def test_seeds_of_workers():
    class Draws(data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return get_worker_info().seed, random.random(), np.random.rand(), facula.rand(1).item()

    facula.manual_seed(7)
    first, second = DataLoader(Draws(), batch_size=None, num_workers=2)
    # Drawn by PyTorch 2.13 under the same seed.
    assert first == [1407639518939636932, 0.9290632898373887, 0.03541536592796235,
                     0.11662513017654419]  # fmt: skip
    assert second == [1407639518939636933, 0.5574193789609411, 0.240715442815568,
                      0.3148404359817505]  # fmt: skip


def test_persistent_workers():
    class Pids(Numbers):
        def __getitem__(self, i):
            return os.getpid()

    loader = DataLoader(Pids(), num_workers=1, persistent_workers=True)
    pids = {batch.item() for _ in range(2) for batch in loader}
    assert len(pids) == 1
    loader = DataLoader(Numbers(), batch_size=2, num_workers=2, persistent_workers=True)
    next(iter(loader))  # a pass left in the middle
    assert lists(loader) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_nested_batches_and_kept_ones():
    class Samples(Numbers):
        def __getitem__(self, i):
            return {"x": facula.full((20_000,), float(i)), "y": [np.full(3, i), "name", i]}

    batches = list(DataLoader(Samples(20), batch_size=2, num_workers=2))
    for number, batch in enumerate(batches):
        a, b = 2 * number, 2 * number + 1
        assert batch["x"][:, 0].tolist() == [a, b] == batch["x"][:, -1].tolist()
        assert batch["y"][0].tolist() == [[a] * 3, [b] * 3]
        assert list(batch["y"][1]) == ["name", "name"] and batch["y"][2].tolist() == [a, b]
    batches[0]["x"].zero_()
    assert batches[1]["x"][0, 0].item() == 2.0


def test_operators_in_workers():
    weight = facula.ones(100, 100)
    assert (weight @ weight).sum().item() == 1e6  # the parent has used its threads

    class Products(Numbers):
        def __getitem__(self, i):
            assert facula.get_num_threads() == 1
            return (weight @ weight).relu().sum() + i

    loader = DataLoader(Products(4), batch_size=2, num_workers=2)
    assert lists(loader) == [[1e6, 1e6 + 1], [1e6 + 2, 1e6 + 3]]


def test_start_methods():
    loader = DataLoader(range(4), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert lists(loader) == [[0, 1], [2, 3]]


def bad_at_two(i):
    if i == 2:
        raise ValueError("bad sample")


def test_errors_are_raised_in_the_parent():
    loader = DataLoader(Numbers(trouble=bad_at_two), num_workers=2)
    batches = iter(loader)
    assert [next(batches).item(), next(batches).item()] == [0, 1]
    with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker process 0") as e:
        next(batches)
    assert "Original Traceback" in str(e.value) and "bad sample" in str(e.value)
    assert next(batches).item() == 3  # and the pass goes on


def test_error_types_that_want_other_arguments():
    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(a)

    def trouble(i):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Caught"):
        list(DataLoader(Numbers(trouble=trouble), num_workers=1))


def test_error_in_worker_init_fn():
    def init(worker_id):
        raise RuntimeError(f"no worker {worker_id}")

    with pytest.raises(RuntimeError, match="no worker 0"):
        list(DataLoader(Numbers(), num_workers=1, worker_init_fn=init))


def test_samples_that_cannot_be_sent():
    class Functions(Numbers):
        def __getitem__(self, i):
            return lambda: i

    with pytest.raises(Exception, match="in DataLoader worker process 0"):
        list(DataLoader(Functions(), batch_size=None, num_workers=1))
    leaf = facula.ones(2, requires_grad=True)

    class Results(Numbers):
        def __getitem__(self, i):
            return leaf * 2

    with pytest.raises(RuntimeError, match="refusing to serialize non-leaf tensor"):
        list(DataLoader(Results(), batch_size=None, num_workers=1))


@pytest.mark.parametrize(
    "end, message",
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "is killed by signal: Killed"),
        (lambda: os._exit(3), "exited unexpectedly with exit code 3"),
    ],
)
def test_a_worker_that_dies(end, message):
    def trouble(i):
        if i == 3:
            end()

    with pytest.raises(RuntimeError, match=message):
        list(DataLoader(Numbers(40, trouble), num_workers=2))


def test_a_worker_that_hangs():
    def trouble(i):
        if i == 1:
            signal.pause()

    loader = DataLoader(Numbers(4, trouble), num_workers=1, timeout=0.3)
    with pytest.raises(RuntimeError, match=r"timed out after 0\.3 seconds"):
        list(loader)


def test_workers_end_with_their_iterator():
    batches = iter(DataLoader(Numbers(), num_workers=1))
    next(batches)
    (process,) = batches._workers
    assert process.is_alive()
    batches._shutdown_workers()
    assert not process.is_alive()


def test_interrupt_ends_all(tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(
        textwrap.dedent("""
            import time
            from facula.utils.data import DataLoader, Dataset

            class Slow(Dataset):
                def __len__(self):
                    return 100
                def __getitem__(self, i):
                    time.sleep(0.05)
                    return i

            if __name__ == "__main__":
                batches = iter(DataLoader(Slow(), num_workers=2))
                next(batches)
                print(*(p.pid for p in batches._workers), flush=True)
                for _ in batches: pass
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(facula.__file__).parents[1])},
    )  # fmt: skip
    pids = [int(pid) for pid in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1  # workers end quietly
    assert not any(os.path.exists(f"/proc/{pid}/cmdline") for pid in pids)
