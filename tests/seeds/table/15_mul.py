import facula as torch

x, y = torch.tensor([1, 2, 3]), torch.tensor([0.5, 1.5, 2.5])
print(x * y, torch.mul(x, y), x * 2, 0.37 * y, x / 2, x // 2, x % 2, x**2, 2**x, -x, y / x)
y *= 2
print(y)
