# The text names these without showing code.
import facula as torch
import facula.nn as nn

torch.manual_seed(0)

print(torch.tensor([1.5, 2.5]), torch.zeros(2, 3), torch.ones(2), torch.rand(2), torch.randn(2))
a, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2)
print(a + b, a - b, a * b, a / 2, a @ b, a[0], a[:, 1], a[1, 0], sep="\n")

print(nn.Linear(3, 2)(torch.ones(1, 3)))
print(nn.Conv2d(1, 2, 3)(torch.ones(1, 1, 4, 4)))
x = torch.linspace(-2, 2, 5)
print(nn.ReLU()(x), nn.Sigmoid()(x), nn.Tanh()(x), sep="\n")
embedding = nn.Embedding(10, 3)
print(embedding(torch.tensor([[1, 2], [4, 1]])))

logits, target = torch.randn(3), torch.tensor([0.0, 1.0, 1.0])
print(nn.BCELoss()(torch.sigmoid(logits), target), nn.BCEWithLogitsLoss()(logits, target))
print(nn.CrossEntropyLoss()(torch.randn(2, 4), torch.tensor([3, 0])))
print(nn.NLLLoss()(nn.LogSoftmax(dim=1)(torch.randn(2, 4)), torch.tensor([3, 0])))
