"""`repr` of tensors: the literal texts are what PyTorch 2.13 prints."""

import numpy as np
import pytest

from facula import printing

F, C = np.float32, np.complex64

# values, dtype, print options, keywords of format_tensor, text
CASES = [
    (np.array(3.5, F), "float32", {}, {}, "tensor(3.5000)"),
    (np.array([1.0, 2.5], F), "float32", {}, {}, "tensor([1.0000, 2.5000])"),
    (np.array([1.0, 2.0, -3.0], F), "float32", {}, {}, "tensor([ 1.,  2., -3.])"),
    (np.array([0.1, 1000.5], F), "float32", {}, {}, "tensor([1.0000e-01, 1.0005e+03])"),
    (np.array([1.0, 2000.0], F), "float32", {}, {}, "tensor([1.0000e+00, 2.0000e+03])"),
    (np.array([1e-5, 1.0], F), "float32", {}, {}, "tensor([1.0000e-05, 1.0000e+00])"),
    (np.array([1.0, 2e8], F), "float32", {}, {}, "tensor([1.0000e+00, 2.0000e+08])"),
    (np.array([np.inf, -np.inf, np.nan], F), "float32", {}, {}, "tensor([inf, -inf, nan])"),
    (np.array([np.nan, 1234.5], F), "float32", {}, {}, "tensor([      nan, 1234.5000])"),
    (np.array([-np.inf, 1e-6], F), "float32", {}, {}, "tensor([      -inf, 1.0000e-06])"),
    (np.array([0.0, -0.0], F), "float32", {}, {}, "tensor([0., -0.])"),
    (
        np.array([16777217.0, 0.30000001192092896]),
        "float64",
        {},
        {},
        "tensor([1.6777e+07, 3.0000e-01], dtype=torch.float64)",
    ),
    (
        np.array([0.1, 65504.0], np.float16),
        "float16",
        {},
        {},
        "tensor([9.9976e-02, 6.5504e+04], dtype=torch.float16)",
    ),
    (
        np.array([0.10009765625, 2.0], F),
        "bfloat16",
        {},
        {},
        "tensor([0.1001, 2.0000], dtype=torch.bfloat16)",
    ),
    (np.array([1, -20, 300]), "int64", {}, {}, "tensor([  1, -20, 300])"),
    (np.array([1, 2], np.int32), "int32", {}, {}, "tensor([1, 2], dtype=torch.int32)"),
    (np.array(200, np.uint8), "uint8", {}, {}, "tensor(200, dtype=torch.uint8)"),
    (np.array([True, False]), "bool", {}, {}, "tensor([ True, False])"),
    (np.array(True), "bool", {}, {}, "tensor(True)"),
    (np.array(1 + 2j, C), "complex64", {}, {}, "tensor(1.+2.j)"),
    (
        np.array([1 + 2j, -1.5 - 2e-5j], C),
        "complex64",
        {},
        {},
        "tensor([ 1.0000+2.0000e+00j, -1.5000-2.0000e-05j])",
    ),
    (np.array([1 - 2j]), "complex128", {}, {}, "tensor([1.-2.j], dtype=torch.complex128)"),
    (np.zeros((0, 3), F), "float32", {}, {}, "tensor([], size=(0, 3))"),
    (np.zeros(0, F), "float32", {}, {}, "tensor([])"),
    (np.zeros(0, np.int64), "int64", {}, {}, "tensor([], dtype=torch.int64)"),
    (
        np.zeros((2, 0), F),
        "float32",
        {},
        {"requires_grad": True},
        "tensor([], size=(2, 0), requires_grad=True)",
    ),
    (np.ones(2, F), "float32", {}, {"requires_grad": True}, "tensor([1., 1.], requires_grad=True)"),
    (
        np.ones(2, F),
        "float32",
        {},
        {"is_parameter": True, "requires_grad": True},
        ("Parameter containing:\ntensor([1., 1.], requires_grad=True)"),
    ),
    (
        np.ones(2, F),
        "float32",
        {},
        {"grad_fn": "AddmmBackward0"},
        "tensor([1., 1.], grad_fn=<AddmmBackward0>)",
    ),
    (
        np.ones((2, 10), F) / 3,
        "float32",
        {},
        {"grad_fn": "AddmmBackward0"},
        (
            "tensor([[0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333,\n"
            "         0.3333],\n"
            "        [0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333,\n"
            "         0.3333]], grad_fn=<AddmmBackward0>)"
        ),
    ),
    (
        np.arange(30.0, dtype=F),
        "float32",
        {},
        {},
        (
            "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,\n"
            "        14., 15., 16., 17., 18., 19., 20., 21., 22., 23., 24., 25., 26., 27.,\n"
            "        28., 29.])"
        ),
    ),
    (
        np.arange(12.0, dtype=F).reshape(2, 2, 3) / 8,
        "float32",
        {},
        {},
        (
            "tensor([[[0.0000, 0.1250, 0.2500],\n"
            "         [0.3750, 0.5000, 0.6250]],\n"
            "\n"
            "        [[0.7500, 0.8750, 1.0000],\n"
            "         [1.1250, 1.2500, 1.3750]]])"
        ),
    ),
    (np.arange(1001), "int64", {}, {}, "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (
        np.arange(40000.0, dtype=F).reshape(100, 400) / 7,
        "float32",
        {},
        {},
        (
            "tensor([[0.0000e+00, 1.4286e-01, 2.8571e-01,  ..., 5.6714e+01, 5.6857e+01,\n"
            "         5.7000e+01],\n"
            "        [5.7143e+01, 5.7286e+01, 5.7429e+01,  ..., 1.1386e+02, 1.1400e+02,\n"
            "         1.1414e+02],\n"
            "        [1.1429e+02, 1.1443e+02, 1.1457e+02,  ..., 1.7100e+02, 1.7114e+02,\n"
            "         1.7129e+02],\n"
            "        ...,\n"
            "        [5.5429e+03, 5.5430e+03, 5.5431e+03,  ..., 5.5996e+03, 5.5997e+03,\n"
            "         5.5999e+03],\n"
            "        [5.6000e+03, 5.6001e+03, 5.6003e+03,  ..., 5.6567e+03, 5.6569e+03,\n"
            "         5.6570e+03],\n"
            "        [5.6571e+03, 5.6573e+03, 5.6574e+03,  ..., 5.7139e+03, 5.7140e+03,\n"
            "         5.7141e+03]])"
        ),
    ),
    (np.arange(10), "int64", {"threshold": 5}, {}, "tensor([0, 1, 2,  ..., 7, 8, 9])"),
    (
        np.arange(24.0, dtype=F).reshape(4, 6),
        "float32",
        {"threshold": 5, "edgeitems": 1},
        {},
        ("tensor([[ 0.,  ...,  5.],\n        ...,\n        [18.,  ..., 23.]])"),
    ),
    (np.array([1.12345], F), "float32", {"precision": 2}, {}, "tensor([1.12])"),
    (
        np.array([1.5, 2.5], F),
        "float32",
        {"sci_mode": True},
        {},
        "tensor([1.5000e+00, 2.5000e+00])",
    ),
    (np.array([1e-5, 2.5], F), "float32", {"sci_mode": False}, {}, "tensor([0.0000, 2.5000])"),
    (
        np.arange(8) * 1000,
        "int64",
        {"linewidth": 30},
        {},
        ("tensor([   0, 1000, 2000,\n        3000, 4000, 5000,\n        6000, 7000])"),
    ),
    (np.array([3.14159, 2.71828], F), "float32", {"profile": "short"}, {}, "tensor([3.14, 2.72])"),
    (np.arange(20), "int64", {"edgeitems": 0, "threshold": 5}, {}, "tensor([...], size=(20,))"),
]


@pytest.fixture(autouse=True)
def default_options():
    yield
    printing.set_printoptions(profile="default")


@pytest.mark.parametrize("array, dtype, options, keywords, text", CASES)
def test_text(array, dtype, options, keywords, text):
    printing.set_printoptions(**options)
    assert printing.format_tensor(array, dtype, **keywords) == text


@pytest.mark.parametrize(
    "keywords, text",
    [
        ({"shape": (3,)}, "tensor(..., device='meta', size=(3,))"),
        (
            {"shape": (3, 4), "dtype": "float64", "requires_grad": True},
            "tensor(..., device='meta', size=(3, 4), dtype=torch.float64,\n"
            "       requires_grad=True)",
        ),
        ({"shape": (), "dtype": "int64"}, "tensor(..., device='meta', size=(), dtype=torch.int64)"),
    ],
)
def test_meta(keywords, text):
    keywords = {"dtype": "float32"} | keywords
    assert printing.format_tensor(None, device="meta", **keywords) == text


def test_default_dtype_decides_the_suffix():
    one = np.ones(1)
    assert printing.format_tensor(one, "float64", default_dtype="float64") == "tensor([1.])"
    text = printing.format_tensor(one.astype(F), "float32", default_dtype="float64")
    assert text == "tensor([1.], dtype=torch.float32)"
    text = printing.format_tensor(one.astype(C), "complex64", default_dtype="float64")
    assert text == "tensor([1.+0.j], dtype=torch.complex64)"


def test_subclasses_show_their_name():
    assert (
        printing.format_tensor(np.ones(3, F), "float32", class_name="Mask") == "Mask([1., 1., 1.])"
    )


def test_options_are_kept_and_restored():
    assert printing.get_printoptions() == {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
    }  # fmt: skip
    with printing.printoptions(precision=1, sci_mode=True):
        assert printing.format_tensor(np.array(0.25, F), "float32") == "tensor(2.5e-01)"
        printing.set_printoptions(profile="short")
        assert printing.get_printoptions()["edgeitems"] == 2
    assert printing.get_printoptions()["precision"] == 4
    assert printing.get_printoptions()["sci_mode"] is None
