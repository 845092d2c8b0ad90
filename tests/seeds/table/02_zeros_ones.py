import facula as torch

print(torch.zeros(2, 3), torch.zeros((2,), dtype=torch.int64), torch.zeros(()), torch.zeros(0, 3))
print(torch.ones(2, 3), torch.ones(2, dtype=torch.bool), torch.ones([1, 2, 3], requires_grad=True))
print(torch.zeros_like(torch.ones(2, dtype=torch.int32)), torch.ones_like(torch.zeros(2, 1)))
