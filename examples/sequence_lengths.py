"""Woman or man? A recurrent network reads given names of any length, packed without padding.

The names are those of the Titanic's passengers, without the titles that would give it away.
"""

import re
import time

from common import read_csv, result, table

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.nn.utils.rnn import pack_padded_sequence, pad_sequence
from facula.utils.data import DataLoader, Dataset

EPOCHS = 12
LETTERS = " abcdefghijklmnopqrstuvwxyz'-"  # 0 is the padding


def given_names(full):
    """`Cumings, Mrs. John Bradley (Florence Briggs)` -> `florence briggs`."""
    names = full.split(",", 1)[-1].split(".", 1)[-1]
    own = re.search(r"\((.*?)\)", names)
    own = own.group(1) if own else names
    return "".join(c for c in own.lower() if c in LETTERS).strip()


class Names(Dataset):
    def __init__(self, rows):
        pairs = [(given_names(r["rownames"]), r["sex"] == "female") for r in rows]
        self.pairs = [(n, s) for n, s in pairs if n]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        name, female = self.pairs[i]
        return torch.tensor([LETTERS.index(c) for c in name]), float(female)


def together(samples):
    """A batch of names of different lengths."""
    names, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(n) for n in names])
    return pad_sequence(names, batch_first=True), lengths, torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.letter = nn.Embedding(len(LETTERS), 16)
        self.rnn = nn.GRU(16, 32, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(64, 1)

    def forward(self, names, lengths):
        x = pack_padded_sequence(
            self.letter(names), lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.rnn(x)  # 2 directions x N x 32: where each name really ends
        return self.out(self.drop(torch.cat([last[0], last[1]], dim=1))).squeeze(1)


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    data = Names(read_csv("titanic.csv.gz"))
    train, test = torch.utils.data.random_split(data, [0.8, 0.2])
    loader = DataLoader(train, batch_size=64, shuffle=True, collate_fn=together)
    names, lengths, labels = together([test[i] for i in range(len(test))])
    print(f"{len(data)} names of {lengths.min().item()} to {lengths.max().item()} letters")

    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for x, n, y in loader:
            loss = F.binary_cross_entropy_with_logits(model(x, n), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            guess = torch.sigmoid(model(names, lengths))
        accuracy = ((guess > 0.5) == (labels > 0.5)).float().mean().item()
        print(
            f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(loader):.3f}, accuracy {accuracy:.3f}"
        )

    print()
    spelled = ["".join(LETTERS[i] for i in n[:k]) for n, k in zip(names, lengths, strict=True)]
    rows = sorted(zip(spelled, labels.tolist(), guess.tolist(), strict=True), key=lambda r: -r[2])
    shown = rows[:4] + rows[len(rows) // 2 - 2 : len(rows) // 2 + 2] + rows[-4:]
    table(
        ["name", "is", "chance of a woman"],
        [[name, "woman" if y else "man", f"{p:.2f}"] for name, y, p in shown],
    )
    result("accuracy", accuracy, time.perf_counter() - start)


if __name__ == "__main__":
    main()
