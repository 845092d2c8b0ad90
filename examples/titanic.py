"""Who survived the Titanic? Features by hand, k-fold validation, a submission file."""

import re
import time

import numpy as np
from common import read_csv, result, table, write_csv

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.utils.data import DataLoader, TensorDataset

FOLDS, EPOCHS = 5, 40
TITLES = ("Mr", "Mrs", "Miss", "Master")  # a Master is a boy


def title_of(name):
    """The title in `Allen, Miss. Elisabeth Walton`; the rare ones count as `other`."""
    found = re.search(r",\s*(?:the\s+)?(\w+)", name)
    title = found.group(1) if found else ""
    title = {"Ms": "Miss", "Mlle": "Miss", "Mme": "Mrs"}.get(title, title)
    return title if title in TITLES else "other"


def features(rows):
    """One row of numbers for each passenger."""
    titles = [title_of(r["rownames"]) for r in rows]
    families = [r["rownames"].split(",")[0] + r["passengerClass"] for r in rows]
    size = {f: families.count(f) for f in set(families)}
    ages = np.array([float(r["age"] or "nan") for r in rows])
    # a missing age is what is usual for the title
    usual = {t: np.nanmedian(ages[[t == u for u in titles]]) for t in set(titles)}
    out = []
    for r, title, family, age in zip(rows, titles, families, ages, strict=True):
        known = not np.isnan(age)
        years = age if known else usual[title]
        out.append(
            [r["sex"] == "female", known, years / 40, years < 12, np.log(size[family])]
            + [r["passengerClass"] == c for c in ("1st", "2nd", "3rd")]
            + [title == t for t in TITLES]
            + [r["sex"] == "female" and r["passengerClass"] != "3rd"]
        )
    return torch.tensor(np.array(out, dtype=np.float32))


class Net(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(32, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x).squeeze(1)


def fit(x, y):
    """A network that has learned from these passengers, and its last loss."""
    model = Net(x.shape[1])
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        total = 0.0
        for xb, yb in loader:
            loss = F.binary_cross_entropy_with_logits(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        scheduler.step()
    return model.eval(), total / len(loader)


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    rows = read_csv("titanic.csv.gz")
    x = features(rows)
    y = torch.tensor([float(r["survived"] == "yes") for r in rows])

    order = torch.randperm(len(rows))
    test, train = order[:300], order[300:]  # the labels of the first 300 are not looked at
    folds = train.chunk(FOLDS)
    scores, votes = [], []
    for k, held in enumerate(folds):
        rest = torch.cat([f for i, f in enumerate(folds) if i != k])
        model, loss = fit(x[rest], y[rest])
        with torch.no_grad():
            right = ((model(x[held]) > 0) == (y[held] > 0)).float().mean().item()
            votes.append(torch.sigmoid(model(x[test])))
        print(f"fold {k + 1}/{FOLDS}: loss {loss:.3f}, accuracy on the rest {right:.3f}")
        scores.append(right)

    survived = torch.stack(votes).mean(0) > 0.5
    path = write_csv(
        "titanic_submission.csv",
        ["Name", "Survived"],
        [[rows[i]["rownames"], int(s)] for i, s in zip(test, survived, strict=True)],
    )
    print(f"\nwrote {path}\n")

    truth = y[test] > 0.5
    groups = {"everyone": torch.ones(len(test), dtype=torch.bool)}
    groups["women"] = x[test][:, 0] > 0
    groups["men"] = ~groups["women"]
    for c in range(3):
        groups[f"class {c + 1}"] = x[test][:, 5 + c] > 0
    table(
        ["submission", "passengers", "survived", "predicted", "accuracy"],
        [
            [
                name,
                g.sum().item(),
                truth[g].sum().item(),
                survived[g].sum().item(),
                (truth == survived)[g].float().mean().item(),
            ]
            for name, g in groups.items()
        ],
    )
    print(f"\nvalidation, mean of {FOLDS} folds: {np.mean(scores):.3f}")
    accuracy = (truth == survived).float().mean().item()
    result("accuracy", accuracy, time.perf_counter() - start)


if __name__ == "__main__":
    main()
