import facula as torch

x = torch.tensor([[1, 2, 3], [4, 5, 6]])
print(torch.gather(x, 1, torch.tensor([[0, 0], [2, 1]])), x.gather(0, torch.tensor([[1, 0, 1]])))
print(torch.index_select(x, 0, torch.tensor([1, 1, 0])), torch.index_select(x, 1, torch.tensor([2])))
