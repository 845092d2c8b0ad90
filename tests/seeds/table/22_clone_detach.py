import facula as torch

x = torch.tensor([1.0, 2.0], requires_grad=True)
y, z = x.clone(), x.detach()
print(y, z, z.requires_grad)
z[0] = 10
print(x, y)
(x.clone() * 2).sum().backward()
print(x.grad)
