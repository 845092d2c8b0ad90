"""`facula.explain`: kernels, what fused into each, bytes and operations."""

import facula as torch
import facula.nn.functional as F


def only_kernel(*tensors):
    (kernel,) = torch.explain(*tensors).kernels
    return kernel


def test_a_fused_kernel():
    kernel = only_kernel((torch.rand(8, 4) + 1).relu())
    assert (kernel.name, kernel.operators) == ("fused", ["add", "relu"])
    assert kernel.bytes == 2 * 4 * 32  # read once, written once
    assert kernel.flops == 2 * 32


def test_a_product_and_its_epilogue_are_one_kernel():
    a, b = torch.rand(64, 32), torch.rand(32, 16)
    plain, fused = only_kernel(a @ b), only_kernel((a @ b).relu())
    assert (plain.name, plain.operators) == ("matmul", [])
    assert (fused.name, fused.operators) == ("matmul", ["relu"])
    assert plain.flops == 2 * 64 * 32 * 16
    assert fused.flops == plain.flops + 64 * 16
    assert fused.bytes == plain.bytes == 4 * (64 * 32 + 32 * 16 + 64 * 16)


def test_a_convolution_and_its_epilogue():
    x, w = torch.rand(2, 3, 8, 8), torch.rand(4, 3, 3, 3)
    plain, fused = only_kernel(F.conv2d(x, w)), only_kernel(F.conv2d(x, w).relu())
    size = 2 * 4 * 6 * 6
    assert plain.flops == 2 * size * 3 * 3 * 3
    assert fused.flops == plain.flops + size
    assert fused.bytes == plain.bytes == 4 * (x.numel() + w.numel() + size)


def test_the_gradient_of_a_weight():
    x, w = torch.rand(2, 3, 8, 8), torch.rand(4, 3, 3, 3, requires_grad=True)
    F.conv2d(x, w).sum().backward()
    assert only_kernel(w.grad).flops == 2 * (2 * 4 * 6 * 6) * 3 * 3 * 3


def test_programs_and_code_on_request():
    explanation = torch.explain(torch.rand(8).exp())
    assert "float32 exp" in explanation.programs()
    assert "define void @loop" in explanation.llvm_ir()
    assert "loop:" in explanation.assembly()


def test_what_is_evaluated_takes_no_kernels():
    x = torch.rand(3).neg()
    x.tolist()
    assert not torch.explain(x).kernels
