import facula as torch

x, y = torch.arange(12.0).view(2, 2, 3), torch.arange(12.0).view(2, 3, 2)
print(torch.bmm(x, y), torch.matmul(x, y), torch.equal(torch.bmm(x, y), x @ y))
