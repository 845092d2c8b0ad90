"""The facula command."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from facula import cli

ROOT = Path(cli.__file__).resolve().parent.parent


def run(*arguments, cwd):
    command = [sys.executable, "-m", "facula", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_run_gives_a_script_facula_for_torch(tmp_path):
    (tmp_path / "helper.py").write_text("import torch\nTWO = torch.tensor(2)\n")
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
        import sys

        import torch
        import torch.nn as nn
        import torch.nn.functional
        from torch.utils.data import DataLoader

        import facula
        from helper import TWO

        print(torch is facula, nn is facula.nn, nn.__name__, DataLoader is not None)
        print(sys.argv[1:], __name__, TWO + 1)
        try:
            import torch.no_such_thing
        except ModuleNotFoundError as error:
            print(error)
        """)
    )
    code, out, err = run("run", "script.py", "-m", "--epochs", "3", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "True True facula.nn True",
        "['-m', '--epochs', '3'] __main__ tensor(3)",
        "No module named 'torch.no_such_thing'",
    ]


def test_run_tells_of_a_missing_script(tmp_path):
    code, _, err = run("run", "nothing.py", cwd=tmp_path)
    assert code == 2
    assert "'nothing.py'" in err


def test_info_names_versions(capsys):
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines}
    assert {"facula", "Python", "NumPy", "llvmlite", "CPU", "threads", "cache"} <= names


def test_cache_clear(tmp_path, monkeypatch, capsys):
    from facula.runtime import cache

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "object").write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr(cache, "cache_directory", lambda: tmp_path)
    assert cli.main(["cache", "show"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 1 files, 2.0 MB\n"
    assert cli.main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"removed 1 files, 2.0 MB from {tmp_path}\n"
    assert not list((tmp_path / "a").iterdir())


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["no-such-command"])
    assert "no-such-command" in capsys.readouterr().err
