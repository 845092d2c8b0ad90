"""The programs of the tutorials print what PyTorch prints, character for character."""

import pytest

from tests.seeds import check


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # PyTorch warns of this as well
@pytest.mark.parametrize("script", check.scripts(), ids=check.name)
def test_prints_what_pytorch_prints(script):
    assert check.output(script) == check.expected(script)
