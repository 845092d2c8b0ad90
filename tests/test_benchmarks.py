"""The benchmarks run, and a table says what was put into it. What they measure is not asserted."""

from __future__ import annotations

import pytest

from benchmarks import operators, products, starts
from benchmarks.networks import WORKLOADS
from benchmarks.table import Table, shown
from benchmarks.turns import Timing


def test_cells_have_few_figures():
    assert [shown(c) for c in (None, "x", 0.12345, 12.345, 12345.6)] == [
        *("", "x", "0.123", "12.3", "12,346"),
    ]


def test_table_is_kept_as_markdown_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table = Table("speed", "Speed", ["program", "ratio"], "ratio").begin()
    table.add("fast", 2.0)
    table.add("not run", None)
    table.note("all well")
    assert "2.000" in capsys.readouterr().out
    assert table.markdown() == (
        "## Speed\n\n| program | ratio |\n| --- | ---: |\n| fast | 2.000 |\n| not run |  |\n\nall well\n"
    )
    assert table.values() == {"fast": 2.0}
    picture = table.draw(tmp_path)
    assert picture is not None and picture.read_bytes().startswith(b"\x89PNG")


def test_ratio_is_the_median_of_the_turns():
    assert Timing({}, {}, [1.0, 9.0, 2.0]).ratio == 2.0
    assert Timing({}).ratio is None


@pytest.mark.parametrize("name", ["line_fit", "standardize", "shuffled_batches"])
def test_a_workload_does_a_unit_of_work(name):
    import facula

    for wrap in (lambda f: f, facula.compile):
        facula.manual_seed(0)
        step = WORKLOADS[name](facula, wrap)
        assert isinstance(step(), float)


def test_a_fresh_process_tells_its_figures(tmp_path):
    told = starts.start("facula", "line_fit", str(tmp_path), 1)
    assert set(told) == {"import", "build", "first", "peak"}
    assert all(seconds > 0 for seconds in told.values())
    assert any(tmp_path.iterdir())  # the kernels that the next process finds


def test_work_of_a_product():
    assert products.work("96*128x64x32:nt") == 2 * 96 * 128 * 64 * 32


def test_operators_are_timed_or_say_what_is_wrong():
    out = operators.table(["facula"], ["abs", "flatten"], 0.0)
    assert [row[0] for row in out.rows] == ["abs", "flatten"]
    assert all(isinstance(row[1], float) and row[1] > 0 for row in out.rows)
    assert out.draw(None) is None  # a line for each of hundreds says nothing
