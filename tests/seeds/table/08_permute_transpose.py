import facula as torch

x = torch.arange(6).view(1, 2, 3)
print(x.permute(2, 0, 1), x.permute(2, 0, 1).shape, x.permute(0, 2, 1).stride())
print(x.transpose(1, 2), x.transpose(0, -1).shape, x.transpose(1, 2).is_contiguous())
print(x[0].T, x[0].t(), x.mT.shape)
