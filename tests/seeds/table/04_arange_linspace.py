import facula as torch

print(torch.arange(5), torch.arange(1, 10, 3), torch.arange(0, 1, 0.25), torch.arange(5.0, 0, -2))
print(torch.linspace(0, 1, 5), torch.linspace(-3, 3, 4), torch.linspace(2, 2, 1), torch.linspace(0, 10, 7))
