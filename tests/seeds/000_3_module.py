# --- left out by the text
import facula as torch

torch.manual_seed(0)

# --- the text
import facula.nn as nn

class SimpleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 2)

    def forward(self, x):
        return self.linear(x)

model = SimpleNet()
print(model)

# --- looked at besides
print(model.linear.weight)
print(model.linear.bias)
print(list(model.state_dict()))
print(model(torch.ones(1, 10)))
