import facula as torch

x = torch.arange(12)
print(x.view(3, 4), x.view(2, -1), x.view(-1, 2, 3).shape, x.reshape(4, 3))
t = x.view(3, 4).t()
print(t.reshape(12), t.reshape(2, 6))
try:
    t.view(12)
except RuntimeError as error:
    print(error)
x.view(3, 4)[0, 0] = 100
print(x)
