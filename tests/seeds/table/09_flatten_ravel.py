import facula as torch

x = torch.arange(24).view(2, 3, 4)
print(x.flatten(), x.flatten(1), x.flatten(0, 1).shape, x.flatten(start_dim=1, end_dim=2).shape)
print(x.ravel(), x.transpose(0, 1).ravel()[:6], torch.flatten(torch.tensor(3)))
