import facula as torch

x = torch.empty(2, 3)
print(x.shape, x.dtype, x.is_contiguous(), torch.empty(0))
print(torch.full((2, 3), 7), torch.full((2,), 1.5), torch.full((), True), torch.full_like(x, 2))
