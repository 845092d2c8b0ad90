import facula as torch

x, y = torch.tensor([1, 2, 3]), torch.tensor([0.5, 1.5, 2.5])
print(x + y, torch.add(x, y), torch.add(x, y, alpha=2), x + 1, 1 + y, x - y, x.add(5), x + x, 2 - x)
print(torch.ones(2, 1) + torch.arange(3), (x + True).dtype, (x + 1.0).dtype)
x += 10
print(x)
try:
    torch.ones(2, 3) + torch.ones(4)
except RuntimeError as error:
    print(error)
