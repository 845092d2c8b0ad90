# --- left out by the text
import facula as torch
import facula.nn as nn

torch.manual_seed(0)

# --- the text
criterion = nn.CrossEntropyLoss()

# --- looked at besides
print(criterion)
logits = torch.randn(4, 3, requires_grad=True)
loss = criterion(logits, torch.tensor([0, 2, 1, 2]))
print(loss)
loss.backward()
print(logits.grad)
print(nn.MSELoss()(torch.randn(4), torch.randn(4)))
print(nn.BCELoss()(torch.sigmoid(torch.randn(4)), torch.tensor([0.0, 1.0, 1.0, 0.0])))
