# --- the text
import facula as torch
import facula.nn as nn
import facula.optim as optim

# --- left out by the text
torch.manual_seed(0)

# --- the text
# 1. 创建数据
x = torch.randn(10, 3)  # 10 个样本，每个 3 个特征
y = torch.randn(10, 1)  # 10 个标签

# 2. 定义模型
model = nn.Linear(3, 1)

# 3. 定义损失函数和优化器
criterion = nn.MSELoss()
optimizer = optim.SGD(model.parameters(), lr=0.01)

# 4. 训练循环
model.train()  # 设置为训练模式
for epoch in range(100):
    # 前向传播
    y_pred = model(x)
    loss = criterion(y_pred, y)
    
    # 反向传播
    optimizer.zero_grad()  # 清空梯度
    loss.backward()        # 计算梯度
    optimizer.step()       # 更新参数
    
    if (epoch + 1) % 20 == 0:
        print(f'Epoch [{epoch+1}/100], Loss: {loss.item():.4f}')

# --- looked at besides
print(x)
print(loss)
print(model.weight, model.bias)
print(optimizer)
