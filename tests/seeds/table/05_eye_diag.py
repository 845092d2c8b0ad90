import facula as torch

print(torch.eye(3), torch.eye(2, 3, dtype=torch.int64))
x = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
print(x, torch.diag(x), torch.diag(x, 1), torch.diag(torch.tensor([1, 2]), -1))
