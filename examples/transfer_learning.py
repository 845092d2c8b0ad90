"""A network that knows the digits 0 to 4 learns 5 to 9 from a small folder of pictures."""

import time
from pathlib import Path

from common import OUTPUT, digits, read_png, result, table, write_png

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.utils.data import DataLoader, Dataset, TensorDataset

EACH = 5  # pictures of each new digit to learn from


def write_folder(root):
    """The new digits as PNG files, one folder a class, as image folders usually are."""
    images, labels = digits(train=True)
    tests, truths = digits(train=False)
    for split, x, y, each in (("train", images, labels, EACH), ("test", tests, truths, 80)):
        for digit in range(5, 10):
            folder = root / split / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            for k, image in enumerate(x[y == digit][:each]):
                write_png(folder / f"{k:03}.png", image)


class Folder(Dataset):
    """Pictures in one folder for each class."""

    def __init__(self, root: Path):
        self.classes = sorted(p.name for p in root.iterdir())
        self.files = [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((root / name).glob("*.png"))
        ]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        path, label = self.files[i]
        return torch.from_numpy(read_png(path)).unsqueeze(0), label


def new_head():
    """From what is seen to one of five digits."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(32 * 7 * 7, 5))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = new_head()

    def forward(self, x):
        return self.head(self.features(x))


def fit(model, data, epochs, lr, batch_size=32):
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=lr)
    model.train()
    for _ in range(epochs):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


def accuracy(model, data):
    model.eval()
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).float().sum() for x, y in DataLoader(data, 100)]
    return sum(r.item() for r in right) / len(data)


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    root = OUTPUT / "digits"
    write_folder(root)
    train, test = Folder(root / "train"), Folder(root / "test")
    print(f"{len(train)} pictures to learn from, {len(test)} to test with, in {root}")

    images, labels = digits(train=True)
    known = labels < 5
    known = TensorDataset(torch.tensor(images[known]).unsqueeze(1), torch.tensor(labels[known]))
    old = Net()
    loss = fit(old, known, epochs=2, lr=2e-3, batch_size=64)
    print(f"knows 0 to 4 from {len(known)} pictures: loss {loss:.4f}")

    rows = []
    scratch = Net()
    fit(scratch, train, epochs=20, lr=2e-3)
    rows.append(["from nothing", accuracy(scratch, test)])

    new = Net()
    new.load_state_dict(old.state_dict())
    new.head = new_head()  # its five classes are others now
    for p in new.features.parameters():
        p.requires_grad_(False)
    fit(new, train, epochs=20, lr=5e-3)
    rows.append(["old features, new head", accuracy(new, test)])

    for p in new.features.parameters():
        p.requires_grad_(True)
    fit(new, train, epochs=10, lr=5e-4)
    rows.append(["then all of it, slowly", accuracy(new, test)])

    print()
    table([f"learned from {len(train)} pictures", "accuracy"], rows)
    result("accuracy", rows[-1][1], time.perf_counter() - start)


if __name__ == "__main__":
    main()
