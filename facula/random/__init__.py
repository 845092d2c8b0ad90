"""Random numbers: PyTorch's CPU generator, to the bit.

`mt19937` is the engine, `generator` what users hold, `draws` the distributions over NumPy arrays.
Below them: `transforms` (native uniform and normal fills, written as vector IR with `vector`, compiled by
`native`), `samplers` (Python functions that `scalar` compiles), `gradients` (of gamma and beta samples by
their parameters) and `cascade` (sums in PyTorch's order).

What is made of draws by tensor operators, in PyTorch's order:

* `normal(mean, std)` with tensors: draw N(0, std) or N(0, 1), then `mul_(std)`, then `add_(mean)`;
* dropout: `x * bernoulli_(1 - p).div_(1 - p)`, and for the channel versions one draw a channel;
* alpha dropout: one `bernoulli_(1 - p)` noise; gumbel softmax: `-exponential_().log()`;
* rrelu: a slope (`draws.rrelu_slopes`) for each input that is not positive, in memory order.
"""
