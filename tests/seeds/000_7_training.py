# --- left out by the text
import facula as torch
import facula.nn as nn
from facula.utils.data import DataLoader

torch.manual_seed(0)
num_epochs = 3
dataloader = DataLoader(torch.randn(12, 10), batch_size=4, shuffle=True)
labels = torch.tensor([0, 1, 1, 0])
model = nn.Linear(10, 2)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

# --- the text
for epoch in range(num_epochs):
    for batch in dataloader:
        optimizer.zero_grad()     # 清空梯度
        outputs = model(batch)    # 前向传播
        loss = criterion(outputs, labels)  # 计算损失
        loss.backward()           # 反向传播计算梯度
        optimizer.step()          # 更新参数

# --- looked at besides
    print(epoch, loss)
print(model.weight)
print(outputs)
