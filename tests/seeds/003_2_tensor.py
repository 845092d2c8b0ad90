import facula as torch

# 创建一个张量
x = torch.tensor([1, 2, 3])
print(x)
