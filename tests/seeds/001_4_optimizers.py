# The text names these without showing code.
import facula as torch
import facula.nn as nn

def train(make):
    torch.manual_seed(0)
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = make(model.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(f"{loss.item():.5f}", model[2].weight)

train(lambda p: torch.optim.SGD(p, lr=0.1))
train(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
train(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3))
train(lambda p: torch.optim.Adam(p, lr=0.01))
train(lambda p: torch.optim.AdamW(p, lr=0.01))
train(lambda p: torch.optim.RMSprop(p, lr=0.01))
