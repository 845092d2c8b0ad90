import facula as torch

x = torch.tensor([1.0, 2.0])
print(x.requires_grad_(True) is x, x, x.requires_grad)
y = (x * 3).detach().requires_grad_()
print(y, y.is_leaf, y.grad_fn)
(y**2).sum().backward()
print(y.grad, x.grad)
try:
    torch.tensor([1]).requires_grad_()
except RuntimeError as error:
    print(error)
