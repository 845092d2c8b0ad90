# --- left out by the text
import facula as torch

torch.manual_seed(0)

# --- the text
import facula.nn as nn

class SimpleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 1)
    
    def forward(self, x):
        return self.fc(x)

# --- looked at besides
model = SimpleNet()
print(model)
print(model(torch.randn(2, 10)))

# --- the text
import facula.optim as optim

optimizer = optim.Adam(model.parameters(), lr=0.001)

# --- looked at besides
print(optimizer)

# --- left out by the text
x = torch.tensor([1.0], requires_grad=True)

# --- the text
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = model.to(device)
x = x.to(device)

# --- looked at besides
print(device, repr(device))
print(x)
