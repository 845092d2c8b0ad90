"""Learns to read handwritten digits. An ordinary PyTorch program but for its imports.

python -m facula.demo                      # 12,000 images that ship with facula
python -m facula.demo --data ~/mnist       # all 60,000, from a folder with MNIST's four files
"""

import argparse
import time
from pathlib import Path

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
import facula.optim as optim
from facula.datasets import MNIST
from facula.demo import graph, picture
from facula.demo.progress import Progress
from facula.utils.data import DataLoader, TensorDataset


# The networks. MyTinyNet is the first network of many a PyTorch tutorial, word for word.
class MyTinyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 128)  # 784 pixels (28 x 28) in, 128 numbers out
        self.fc2 = nn.Linear(128, 10)  # one number for each of the ten digits

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = self.fc2(x)
        return x


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(800, 10)

    def forward(self, x):  # N x 1 x 28 x 28
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # N x 16 x 13 x 13
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # N x 32 x 5 x 5
        return self.fc(self.drop(torch.flatten(x, 1)))


PACKAGED = Path(__file__).resolve().parent.parent / "data_files"
MEAN, STD = 0.1307, 0.3081  # of all pixels of MNIST, as every tutorial has them


def load(folder, train):
    """Images (N x 1 x 28 x 28, mean 0, deviation 1) with labels: the subset without a folder."""
    digits = MNIST(folder or PACKAGED, train=train)
    pixels = digits.data.unsqueeze(1) / 255
    return TensorDataset((pixels - MEAN) / STD, digits.targets)


def train(name, model, data, epochs, batch_size=64):
    """Shows the model all images `epochs` times; returns the loss of every step."""
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * len(loader)
    )
    losses = []
    model.train()
    for epoch in range(epochs):
        seen = right = 0
        bar = Progress(f"{name} epoch {epoch + 1}/{epochs}", loader, len(data))
        for images, labels in bar:
            outputs = model(images)
            loss = criterion(outputs, labels)

            optimizer.zero_grad()  # forget the gradients of the step before
            loss.backward()  # gradients of the loss for every parameter
            optimizer.step()  # a step downhill
            scheduler.step()  # the size of the next one

            seen += len(labels)
            right += (outputs.argmax(dim=1) == labels).sum().item()
            losses.append(loss.item())
            bar.show(losses[-1], right / seen, len(labels))
    return losses


@torch.no_grad()
def predict(model, data):
    """The digit that the model sees in each image."""
    model.eval()
    batches = DataLoader(data, batch_size=500)
    return torch.cat([model(images).argmax(dim=1) for images, _ in batches])


def accuracy(guesses, data):
    """The share of right guesses, in per cent."""
    return 100 * (guesses == data.tensors[1]).float().mean().item()


def save_and_reload(make, model, path):
    """Writes the model's parameters and returns a new model that has read them."""
    torch.save(model.state_dict(), path)
    again = make()
    again.load_state_dict(torch.load(path))
    return again


def draw(folder, model, curves, data, guesses):
    """Writes the picture and the graph; returns lines that say what there is to see."""
    images, labels = data.tensors
    loss = F.cross_entropy(model.train()(images[:64]), labels[:64])
    page = graph.page(loss, "The computational graph of one loss", model.named_parameters())
    (folder / "graph.html").write_text(page, encoding="utf-8")
    seen = [f"{folder / 'graph.html'}   the operators and parameters behind one loss"]
    if picture.draw(folder / "digits.png", curves, images[:, 0], labels, guesses):
        what = "how the loss fell, and digits read rightly and wrongly"
        return [f"{folder / 'digits.png'}   {what}", *seen]
    return [*seen, "(pip install 'facula[demo]' brings matplotlib, which draws digits.png)"]


def main():
    parser = argparse.ArgumentParser(prog="python -m facula.demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the four files of the full MNIST")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder to write to")
    parser.add_argument("--mlp-epochs", type=int, default=10)
    parser.add_argument("--cnn-epochs", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    torch.manual_seed(0)  # the same numbers on every run
    training, test = load(options.data, train=True), load(options.data, train=False)
    print(f"{len(training):,} images to learn from, {len(test):,} to be tested on\n")

    networks = {
        "MLP": (lambda: nn.Sequential(nn.Flatten(), MyTinyNet()), options.mlp_epochs),
        "CNN": (SmallCNN, options.cnn_epochs),
    }
    curves = {}
    for name, (make, epochs) in networks.items():
        model = make()
        curves[name] = train(name, model, training, epochs)
        guesses = predict(model, test)
        print(f"{name} test accuracy: {accuracy(guesses, test):.2f} %")

        path = options.out / f"{name.lower()}.pt"
        again = predict(save_and_reload(make, model, path), test)
        print(f"saved as {path}, read back: {accuracy(again, test):.2f} %\n")
        if not torch.equal(again, guesses):
            raise RuntimeError(f"the model read back from {path} is not the one that was saved")

    seen = draw(options.out, model, curves, test, guesses)
    print(f"Done in {time.perf_counter() - start:.0f} s. Have a look at:")
    for line in seen:
        print(f"  {line}")
    print(f"  {options.out / 'cnn.pt'}   the network's parameters, in PyTorch's own file format")
    print(f"  {Path(__file__)}   this program")


if __name__ == "__main__":
    main()
