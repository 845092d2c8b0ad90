import facula as torch

x = torch.tensor([1.0, 2.0], requires_grad=True)
x.data[0] = 5
x.data.mul_(2)
print(x, x.data, x.data.requires_grad, x.detach(), x.is_leaf)
y = x * 2
print(y.data, y.detach())
