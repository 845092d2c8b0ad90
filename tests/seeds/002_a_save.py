# --- left out by the text
import os
import tempfile

import facula as torch

torch.manual_seed(123)
os.chdir(tempfile.mkdtemp())

# --- the text before
class NeuralNetwork(torch.nn.Module):
    def __init__(self, num_inputs, num_outputs):
        super().__init__()
        # Sequential 表示按特定顺序执行的层
        self.layers = torch.nn.Sequential(
                
            # 1st hidden layer
            torch.nn.Linear(num_inputs, 30),
            torch.nn.ReLU(), # 激活层位于隐藏层之间

            # 2nd hidden layer
            torch.nn.Linear(30, 20),
            torch.nn.ReLU(),

            # output layer
            torch.nn.Linear(20, num_outputs),
        )

    def forward(self, x):
        logits = self.layers(x)
        return logits

model = NeuralNetwork(2, 2)

# --- the text
torch.save(model.state_dict(), "model.pth")
model = NeuralNetwork(2, 2) # needs to match the original model exactly
model.load_state_dict(torch.load("model.pth", weights_only=True))

# --- looked at besides
print(model.load_state_dict(torch.load("model.pth", weights_only=True)))
for name, value in torch.load("model.pth", weights_only=True).items():
    print(name, value.shape, value.dtype)
print(model.layers[4].weight)
