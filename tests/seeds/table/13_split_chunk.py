import facula as torch

x = torch.arange(10).view(5, 2)
print(torch.split(x, 2), torch.split(x, [1, 4]), torch.split(x, 1, dim=1)[0].shape)
print(torch.chunk(x, 2), torch.chunk(x, 2, dim=1), [c.shape for c in x.chunk(4)])
