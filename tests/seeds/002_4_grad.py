# --- the text before
import facula as torch
import facula.nn.functional as F
from facula.autograd import grad

y = torch.tensor([1.0])
x1 = torch.tensor([1.1])
w1 = torch.tensor([2.2], requires_grad=True)
b = torch.tensor([0.0], requires_grad=True)

z = x1 * w1 + b 
a = torch.sigmoid(z)

loss = F.binary_cross_entropy(a, y)

# --- the text
# 默认情况下，pytorch 在计算梯度后会销毁计算图已释放内存
# 如果想重复使用计算图，需要添加 retain_graph=True
grad_L_w1 = grad(loss, w1, retain_graph=True)
# grad 函数，这在实验、调试和概念演示中很有用
grad_L_b = grad(loss, b, retain_graph=True)

print(grad_L_w1)
print(grad_L_b)
