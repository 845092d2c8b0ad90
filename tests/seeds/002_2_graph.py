# --- left out by the text
import facula as torch

# --- the text
import facula.nn.functional as F

y = torch.tensor([1.0])  # true label 真实标签
x1 = torch.tensor([1.1]) # input feature 输入特征
w1 = torch.tensor([2.2]) # weight parameter 权重参数
b = torch.tensor([0.0])  # bias unit 偏置单元

z = x1 * w1 + b          # net input 网络输入
a = torch.sigmoid(z)     # activation & output 激活和输出

# 损失是通过比较模型输出  a  与给定标签  y  来计算的
loss = F.binary_cross_entropy(a, y)
print(loss)
