import facula as torch

x = torch.tensor([1.0, 2.0], requires_grad=True)
w = torch.tensor([3.0, 4.0], requires_grad=True)
(x * w).sum().backward()
print(x.grad, w.grad)
(x * w).sum().backward()
print(x.grad)
print(torch.autograd.grad((x**2 * w).sum(), [x, w]))
(g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
print(g, torch.autograd.grad(g.sum(), x))
(x * w).backward(torch.tensor([1.0, 10.0]))
print(x.grad)
y = x.exp()
y.sum().backward()
for bad in (lambda: y.sum().backward(), lambda: (x * 2).backward(), lambda: torch.ones(2).sum().backward()):
    try:
        bad()
    except RuntimeError as error:
        print(error)
