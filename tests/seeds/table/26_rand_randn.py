import facula as torch

torch.manual_seed(0)
print(torch.rand(2, 3), torch.randn(2, 3), torch.rand(2), torch.randn(20), torch.rand(3, dtype=torch.float64))
print(torch.randn(3, dtype=torch.float64), torch.rand_like(torch.ones(2)), torch.randn_like(torch.ones(2)))
print(torch.randn(4, generator=torch.Generator().manual_seed(7)), torch.initial_seed())
