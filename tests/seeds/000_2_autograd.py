# --- left out by the text
import facula as torch

# --- the text
x = torch.tensor(2.0, requires_grad=True)
y = x ** 2 + 3 * x + 1
y.backward()  # 自动计算 dy/dx
print(x.grad)  # 输出：7.0

# --- looked at besides
print(x)
print(y)
print(y.grad_fn.name())
