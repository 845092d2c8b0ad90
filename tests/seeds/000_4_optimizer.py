# --- left out by the text
import facula as torch
import facula.nn as nn

torch.manual_seed(0)

class SimpleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 2)

    def forward(self, x):
        return self.linear(x)

model = SimpleNet()

# --- the text
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

# --- looked at besides
print(optimizer)
print(torch.optim.SGD(model.parameters(), lr=0.1))
print(torch.optim.RMSprop(model.parameters()))
print(torch.optim.AdamW(model.parameters()))
for step in range(3):
    optimizer.zero_grad()
    model(torch.ones(4, 10)).square().mean().backward()
    optimizer.step()
print(model.linear.bias)
