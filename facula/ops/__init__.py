"""Every public operator, one place each: arguments, shape rule, expansion, derivative."""

from facula.ops import (  # noqa: F401  (importing an operator's file makes it known)
    pointwise,
    elementwise,
    math_ops,
    shape,
    reduce,
    create,
    convert,
    matmul,
    index,
    gradients,
    nn_ops,
    random,
    samplers,
    formula,
    activations,
    dropout,
    embedding,
    norms,
    printing,
)
