# --- left out by the text
import facula as torch

torch.manual_seed(123)

# --- the text
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
# 统计模型参数量
# 每一个 requires_grad=True 的参数都会被视为可训练参数，并在训练期间进行更新
num_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
print("Total number of trainable model parameters:", num_params)

# 训练参数包含在 torch.nn.Linear 层中。
# Linear 层会将输入与权重矩阵相乘，并加上一个偏置向量。
# 这有时被称为前馈层或全连接层。
# requires_gra 被设置为 True 是 torch.nn.Linear 中权重和偏置的默认设置
print(model.layers[0].weight)
print(model.layers[0].bias)

# --- looked at besides
print(model)
print(model.layers[0].weight.shape)
