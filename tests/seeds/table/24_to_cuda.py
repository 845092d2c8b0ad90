import facula as torch

x = torch.tensor([1.5, -2.5])
print(x.to("cpu") is x, x.to(torch.device("cpu")), x.to(torch.float64), x.to("cpu", torch.int64))
print(torch.cuda.is_available(), x.device, x.to(torch.zeros(1, dtype=torch.int32)))
