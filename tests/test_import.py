"""What `import facula` loads: little. The compiler, nn and the rest come when first used."""

import subprocess
import sys

NOT_YET = [
    "llvmlite", "multiprocessing", "asyncio", "unittest", "logging",
    "facula.nn", "facula.optim", "facula.utils", "facula.distributions", "facula.serialization",
    "facula.datasets", "facula.compiler", "facula.overrides", "facula.llvm", "facula.kernel",
    "facula.schedule.fuse", "facula.schedule.native_plan", "facula.runtime.jit",
]  # fmt: skip


def test_modules_that_are_not_loaded_yet():
    code = f"import sys, facula; print([n for n in {NOT_YET!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_of_what_is_loaded_later_are_there():
    code = "import facula; assert facula.nn.Linear and facula.optim.SGD and facula.save"
    subprocess.run([sys.executable, "-c", code], check=True)
