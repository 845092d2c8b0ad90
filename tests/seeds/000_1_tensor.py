import facula as torch

x = torch.tensor([[1, 2], [3, 4]], dtype=torch.float32)
print(x)
print(x.device)  # 默认是 CPU
