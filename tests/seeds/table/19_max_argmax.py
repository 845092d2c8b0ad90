import facula as torch

x = torch.tensor([[1.0, 9.0, 3.0], [7.0, 5.0, 7.0]])
print(x.max(), x.max(0), x.max(dim=1, keepdim=True), torch.max(x, x.mean(1, keepdim=True)))
print(x.argmax(), x.argmax(0), x.argmax(dim=1), x.max(1).indices, x.argmax(1, keepdim=True))
