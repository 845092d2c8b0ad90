# --- left out by the text
import facula as torch

# --- the text
x = torch.tensor([1.0], requires_grad=True)
y = x ** 2
y.backward()
print(x.grad)  # 输出: tensor([2.])

# --- looked at besides
print(y)
