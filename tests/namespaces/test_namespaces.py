"""Names that programs touch before they begin: versions, devices, back ends, marks."""

import importlib

import pytest

import facula as torch


def test_version_compares_as_versions_do():
    v = torch.__version__
    assert isinstance(v, str)
    assert v >= (2, 0)
    assert v > "1.13.1"
    assert "2.4" < v < "10.0"
    assert v == "2.13"
    assert type(v)("2.1.0a0") < "2.1" < type(v)("2.1.0.post1")


@pytest.mark.parametrize(
    "name",
    "backends.cudnn backends.cuda backends.mkldnn backends.mps utils.benchmark utils.dlpack "
    "multiprocessing hub jit distributed profiler futures types accelerator cuda.amp".split(),
)
def test_submodules_can_be_imported(name):
    assert importlib.import_module(f"facula.{name}")


def test_switches_are_set_and_set_back():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    with cudnn.flags(benchmark=not before):
        assert cudnn.benchmark is not before
    assert cudnn.benchmark is before


def test_there_is_no_other_device():
    assert not torch.cuda.is_available()
    assert not torch.mps.is_available()
    assert not torch.xpu.is_available()
    assert torch.accelerator.current_accelerator() is None
    with pytest.raises(RuntimeError, match="Cannot access accelerator"):
        torch.accelerator.synchronize()


def test_there_is_one_process():
    dist = torch.distributed
    assert not (dist.is_available() and dist.is_initialized())
    with pytest.raises(NotImplementedError, match="one process"):
        dist.init_process_group("gloo", rank=0, world_size=2)


def test_torchscript_says_that_it_is_missing():
    with pytest.raises(NotImplementedError, match="PYTORCH_JIT=0"):
        torch.jit.script(torch.nn.Linear(1, 1))
    assert torch.jit.unused(len) is len
    assert torch.jit.ignore(drop=True)(len) is len
    assert not torch.jit.is_scripting()
    assert torch.jit.isinstance([1, 2], list[int])
    assert not torch.jit.isinstance([1, "2"], list[int])


def test_profiler_says_what_to_use():
    with pytest.raises(NotImplementedError, match="explain"):
        torch.profiler.profile()


def test_fork_rng_leaves_no_trace():
    torch.manual_seed(3)
    with torch.random.fork_rng():
        inside = torch.rand(2)
    assert torch.equal(inside, torch.rand(2))


def test_futures():
    future = torch.futures.Future()
    twice = future.then(lambda f: 2 * f.wait())
    future.set_result(21)
    assert twice.wait() == 42
    assert torch.jit.wait(torch.jit.fork(lambda x: x + 1, 1)) == 2


def test_timer():
    from facula.utils.benchmark import Compare, Timer

    timer = Timer("y = x + 1", globals={"x": torch.ones(3)}, label="add", sub_label="small")
    measured = timer.timeit(20)
    assert measured.median > 0
    assert "small" in str(Compare([measured]))


def test_hub_reads_a_local_folder(tmp_path):
    (tmp_path / "hubconf.py").write_text("def answer(x):\n    return x + 1\n")
    assert torch.hub.load(str(tmp_path), "answer", 41, source="local") == 42
    with pytest.raises(NotImplementedError, match="clone the repository"):
        torch.hub.load("someone/something", "model")


def _hello(i, folder):
    (folder / str(i)).write_text("here")


def _fails(i):
    raise ValueError("on purpose")


def test_spawn(tmp_path):
    torch.multiprocessing.spawn(_hello, (tmp_path,), nprocs=1)
    assert (tmp_path / "0").read_text() == "here"
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="on purpose"):
        torch.multiprocessing.start_processes(_fails, nprocs=1, start_method="fork")
