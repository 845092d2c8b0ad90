"""Handwritten digits by a convolutional network, and a picture of those it got wrong."""

import time

from common import OUTPUT, digits, result, sheet, table, write_png

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.utils.data import DataLoader, TensorDataset

EPOCHS = 5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.drop = nn.Dropout(0.25)
        self.fc1 = nn.Linear(32 * 7 * 7, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):  # N x 1 x 28 x 28
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)  # N x 16 x 14 x 14
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # N x 32 x 7 x 7
        x = F.relu(self.fc1(self.drop(torch.flatten(x, 1))))
        return self.fc2(x)


def load(train):
    images, labels = digits(train)
    return TensorDataset(torch.tensor(images).unsqueeze(1), torch.tensor(labels))


def predict(model, data):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) for x, _ in DataLoader(data, batch_size=250)])


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    train, test = load(True), load(False)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    model = Net()
    print(model)
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=EPOCHS * len(loader)
    )
    labels = test.tensors[1]
    for epoch in range(EPOCHS):
        model.train()
        total, begin = 0.0, time.perf_counter()
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        seconds = time.perf_counter() - begin
        guess = predict(model, test)
        accuracy = (guess == labels).float().mean().item()
        print(
            f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(loader):.4f}, "
            f"accuracy {accuracy:.4f}, {seconds:.1f} s"
        )

    confused = [[((labels == a) & (guess == b)).sum().item() for b in range(10)] for a in range(10)]
    print("\nwhat was taken for what")
    table(
        ["digit", *map(str, range(10))],
        [[str(a), *(str(n or ".") for n in row)] for a, row in enumerate(confused)],
    )
    wrong = (guess != labels).nonzero().flatten()
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "mnist_mistakes.png"
    write_png(path, sheet(test.tensors[0][wrong, 0].numpy(), 10))
    print(f"\nthe {len(wrong)} mistakes: {path}")
    result("accuracy", accuracy, time.perf_counter() - start)


if __name__ == "__main__":
    main()
