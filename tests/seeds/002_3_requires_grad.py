# --- left out by the text
import facula as torch

# --- the text
import facula.nn.functional as F
from facula.autograd import grad

y = torch.tensor([1.0])
x1 = torch.tensor([1.1])
w1 = torch.tensor([2.2], requires_grad=True)
b = torch.tensor([0.0], requires_grad=True)

z = x1 * w1 + b 
a = torch.sigmoid(z)

loss = F.binary_cross_entropy(a, y)

# --- looked at besides
print(w1, b, z, a, loss, sep="\n")
