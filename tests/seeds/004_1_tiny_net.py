# --- the text
import facula as torch
import facula.nn as nn
import facula.optim as optim

# --- left out by the text
torch.manual_seed(0)

# --- the text
# 1. 定义你的模型结构 (继承 nn.Module)
class MyTinyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 128)  # 输入784像素 (28x28), 输出128维
        self.fc2 = nn.Linear(128, 10)    # 输出10个类别 (比如0-9数字)

    def forward(self, x):
        x = torch.relu(self.fc1(x))  # 激活函数用 ReLU (超级常用!)
        x = self.fc2(x)
        return x

# 2. 创建模型、损失函数、优化器
model = MyTinyNet()
criterion = nn.CrossEntropyLoss()  # 分类任务常用损失
optimizer = optim.SGD(model.parameters(), lr=0.01)  # 随机梯度下降, 学习率0.01

# 3. 假设我们有一些数据 (这里简化, 实际要从数据集加载)
# inputs 形状 [batch_size, 784], labels 形状 [batch_size]
inputs = torch.randn(64, 784)  # 64张假图片
labels = torch.randint(0, 10, (64,))  # 64个假的0-9标签

# 4. 训练循环 (精髓所在!)
for epoch in range(10):  # 跑10轮
    # 前向传播
    outputs = model(inputs)
    # 计算损失 (差距有多大?)
    loss = criterion(outputs, labels)

    # 反向传播 (核心魔法在这里!)
    optimizer.zero_grad()  # 清空上一轮的梯度 (重要!否则会累积)
    loss.backward()        # Autograd 自动计算所有参数的梯度!
    # 更新参数 (根据梯度调整模型)
    optimizer.step()

    print(f'Epoch {epoch+1}, Loss: {loss.item():.4f}')  # 打印损失看看

# --- looked at besides
print(model)
print(labels)
print(inputs)
print(outputs.argmax(dim=1))
print(model.fc1.weight)
