# --- the text before, with the seed of its outputs
import facula as torch

torch.manual_seed(123)

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

model = NeuralNetwork(50, 3)

# --- the text (the outputs it shows between the lines are what the lines must print)
# 1. 前向传播
torch.manual_seed(123)
X = torch.rand((1, 50))
# 调用 model(x) 时，会自动执行模型的前向传播
# 前向传播是指从输入张量开始到计算获得输出张量的过程。
out = model(X)
print(out)
# grad_fn=<AddmmBackward0> 表示计算图中用于计算某个变量的最后一个函数
# PyTorch 会在反向传播期间使用这些信息来计算梯度
# tensor([[-0.1262,  0.1080, -0.1792]], grad_fn=<AddmmBackward0>)

# 只推理，不训练，告诉 PyTorch 无须跟踪梯度
with torch.no_grad():
    out = model(X)
print(out)
# tensor([[-0.1262,  0.1080, -0.1792]])

# 预测类别成员概率
with torch.no_grad():
    # 通常的做法是让模型返回最后一层的输出（logits）
    # 因为 PyTorch 常用的损失函数会将 softmax（或二分类时的 sigmoid）操作与负对数似然损失结合在一个类中。这样做是为了提高数值计算的效率和稳定性。
    # 需要显式调用 softmax 函数
    out = torch.softmax(model(X), dim=1)
print(out)
# tensor([[0.3113, 0.3934, 0.2952]]))
