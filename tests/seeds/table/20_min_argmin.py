import facula as torch

x = torch.tensor([[4, 9, 3], [7, 5, 2]])
print(x.min(), x.min(0), x.min(dim=1).values, torch.min(x, torch.tensor(4)))
print(x.argmin(), x.argmin(0), x.argmin(dim=1))
