import facula as torch

print(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1.5, 2]), torch.tensor(True), torch.tensor([]))
print(torch.Tensor([[1, 2], [3, 4]]), torch.Tensor(2, 3).shape, torch.Tensor().shape)
print(torch.tensor([1, 2], dtype=torch.float64), torch.tensor([True, False]), torch.tensor(2 + 3j))
print(torch.tensor([1e-8, 1.0, 1e8]), torch.tensor([float("nan"), float("inf"), -1.0]))
print(torch.tensor([1.0, 2.5], dtype=torch.float16), torch.tensor([1, 2], dtype=torch.uint8))
