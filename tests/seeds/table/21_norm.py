import facula as torch

x = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
print(torch.norm(x), torch.norm(x, 1), torch.norm(x, p=2, dim=1), torch.norm(x, float("inf")))
print(torch.linalg.norm(x), torch.linalg.norm(x, dim=0), torch.linalg.norm(x, 1), torch.linalg.norm(x, float("inf")))
print(torch.linalg.norm(x[0], 3), torch.linalg.norm(x, 2), torch.linalg.norm(x, "nuc"), x.norm())
