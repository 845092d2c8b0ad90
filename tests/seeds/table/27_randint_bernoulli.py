import facula as torch

torch.manual_seed(0)
print(torch.randint(0, 10, (2, 3)), torch.randint(5, (4,)), torch.randint(-3, 3, (5,), dtype=torch.int32))
print(torch.bernoulli(torch.full((2, 5), 0.3)), torch.bernoulli(torch.tensor([0.0, 1.0, 0.5])))
print(torch.randperm(10), torch.ones(6).bernoulli_(0.5))
