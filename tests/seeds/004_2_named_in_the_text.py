# The text names these without showing code.
import facula as torch
import facula.nn as nn

torch.manual_seed(0)

x = torch.randn(2, 1, 6, 6)
block = nn.Sequential(
    nn.Conv2d(1, 3, 3, padding=1),
    nn.BatchNorm2d(3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(0.5),
    nn.Flatten(),
    nn.Linear(27, 2),
)
print(block)
y = block(x)
print(y)
y.sum().backward()
print(block[0].weight.grad)
print(block[1].running_mean, block[1].running_var, block[1].num_batches_tracked)
print(block.eval()(x))

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x ** 2 * grad

x = torch.tensor([1.0, 2.0], requires_grad=True)
y = Cube.apply(x)
print(y)
y.sum().backward()
print(x.grad)
for kind in nn.LSTM, nn.GRU, nn.RNN:
    rnn = kind(4, 3, num_layers=2, batch_first=True)
    print(rnn)
    out, state = rnn(torch.randn(2, 5, 4))
    print(out[:, -1])
