# --- left out by the text
import facula as torch
from facula import nn

torch.manual_seed(0)

# --- the text
loss = nn.MSELoss()
input = torch.randn(3, 5, requires_grad=True)
target = torch.randn(3, 5)
output = loss(input, target)
output.backward() # 计算梯度

# --- looked at besides
print(input)
print(target)
print(output)
print(input.grad)
