# --- left out by the text, as in the book it quotes
import facula as torch

torch.set_printoptions(sci_mode=False)
from facula.utils.data import DataLoader, Dataset

X_train = torch.tensor([
    [-1.2, 3.1],
    [-0.9, 2.9],
    [-0.5, 2.6],
    [2.3, -1.1],
    [2.7, -1.5]
])
y_train = torch.tensor([0, 0, 0, 1, 1])

class ToyDataset(Dataset):
    def __init__(self, X, y):
        self.features = X
        self.labels = y

    def __getitem__(self, index):
        return self.features[index], self.labels[index]

    def __len__(self):
        return self.labels.shape[0]

train_ds = ToyDataset(X_train, y_train)
torch.manual_seed(123)
train_loader = DataLoader(train_ds, batch_size=2, shuffle=True, num_workers=0)

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

# --- the text
import facula.nn.functional as F


torch.manual_seed(123)
model = NeuralNetwork(num_inputs=2, num_outputs=2)
# model.parameters() 优化器需要知道哪些参数需要优化
# 学习率（lr）为 0.5 的随机梯度下降（SGD）优化器
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

num_epochs = 3

for epoch in range(num_epochs):
    # 将模型置于训练模式
    model.train()
    for batch_idx, (features, labels) in enumerate(train_loader):

        logits = model(features)
        # logits 传递给 cross_entropy 损失函数
        # 后者会在内部应用 softmax 函数，以提高效率并增强数值稳定性
        loss = F.cross_entropy(logits, labels) # Loss function
        # 将上一轮梯度置为 0，以防止意外的梯度累计
        optimizer.zero_grad()
        # 计算损失函数梯度
        loss.backward()
        # 优化器使用梯度更新模型参数以最小化损失
        optimizer.step()
    
        ### LOGGING
        print(f"Epoch: {epoch+1:03d}/{num_epochs:03d}"
              f" | Batch {batch_idx:03d}/{len(train_loader):03d}"
              f" | Train/Val Loss: {loss:.2f}")
    # 切换到评估模式
    model.eval()
    # 插入可选的模型评估代码
    # Optional model evaluation

# 2. 预测
with torch.no_grad():
    outputs = model(X_train)
probas = torch.softmax(outputs, dim=1)
print(probas)

# 一个计算预测准确率的函数
def compute_accuracy(model, dataloader):

    model = model.eval()
    correct = 0.0
    total_examples = 0
    
    for idx, (features, labels) in enumerate(dataloader):
        
        with torch.no_grad():
            logits = model(features)
        
        predictions = torch.argmax(logits, dim=1)
        compare = labels == predictions
        correct += torch.sum(compare)
        total_examples += len(compare)
    # .item 会将张量的值以 Python 浮点数返回
    return (correct / total_examples).item()

# --- looked at besides
print(outputs)
print(compute_accuracy(model, train_loader))
print(model.layers[4].bias)
torch.set_printoptions(profile="default")
