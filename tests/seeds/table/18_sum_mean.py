import facula as torch

x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
print(x.sum(), x.sum(0), x.sum(1), x.sum(dim=(0, 1)), x.sum(1, keepdim=True), x.long().sum())
print(x.mean(), x.mean(0), x.mean(dim=1, keepdim=True), (x > 2).sum(), x.sum(-1, dtype=torch.float64))
try:
    x.long().mean()
except RuntimeError as error:
    print(error)
