import facula as torch

x = torch.arange(3)
print(x.unsqueeze(0), x.unsqueeze(1), x.unsqueeze(-1).shape)
y = torch.zeros(1, 3, 1, 2)
print(y.squeeze().shape, y.squeeze(0).shape, y.squeeze(1).shape, y.squeeze(-2).shape, y.squeeze((0, 2)).shape)
