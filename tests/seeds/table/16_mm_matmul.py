import facula as torch

x, y = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4)
print(torch.mm(x, y), torch.matmul(x, y), x @ y)
print(torch.matmul(x, torch.ones(3)), torch.matmul(torch.ones(3), torch.arange(3.0)))
print(torch.matmul(torch.ones(5, 2, 3), y).shape, torch.mm(x.long(), y.long()))
for bad in (lambda: torch.mm(x, x), lambda: torch.mm(x, torch.ones(3)), lambda: torch.mm(x, y.long())):
    try:
        bad()
    except RuntimeError as error:
        print(error)
