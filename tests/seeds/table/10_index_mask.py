import facula as torch

x = torch.arange(12).view(3, 4)
print(x[0], x[1, 2], x[:, 1], x[1:, ::2], x[-1], x[..., 0], x[None, 0].shape)
print(x[torch.tensor([0, 2])], x[[0, 1], [1, 2]], x[:, torch.tensor([3, 0])])
print(x[x > 5], x[torch.tensor([True, False, True])], x[x > 100])
x[x % 2 == 0] = -1
x[0, 1:3] = torch.tensor([7, 8])
print(x)
try:
    x[3]
except IndexError as error:
    print(error)
