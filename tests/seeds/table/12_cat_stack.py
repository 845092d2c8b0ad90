import facula as torch

a, b = torch.tensor([[1, 2]]), torch.tensor([[3, 4]])
print(torch.cat([a, b]), torch.cat((a, b), dim=1), torch.cat([a, b.float()], -1))
print(torch.stack([a, b]), torch.stack([a, b], dim=1).shape, torch.stack((a[0], b[0]), dim=-1))
