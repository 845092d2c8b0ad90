import facula as torch

x = torch.tensor([1.5, -2.5])
print(x.type(), x.type(torch.int64), x.type("torch.DoubleTensor"), x.to(torch.int32), x.to(torch.bool))
print(x.float() is x, x.long(), x.double().dtype, x.half(), x.to(torch.bfloat16), x.int().type())
