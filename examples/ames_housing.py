"""What does a house in Ames cost? 73 columns of every kind, k-fold validation, a submission file."""

import time

import numpy as np
from common import read_csv, result, table, write_csv

import facula as torch
import facula.nn as nn
from facula.utils.data import DataLoader, TensorDataset

FOLDS, EPOCHS, TEST = 5, 60, 730
SKEWED = 1.0  # columns with a longer tail than this are taken by their logarithm


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def features(rows):
    """Numbers to mean 0 and deviation 1, categories one-hot; a few columns of our own."""
    for r in rows:
        r["Total_SF"] = str(float(r["Gr_Liv_Area"]) + float(r["Total_Bsmt_SF"] or 0))
        r["Age"] = str(int(r["Year_Sold"]) - int(r["Year_Built"]))
        r["Baths"] = str(float(r["Full_Bath"]) + 0.5 * float(r["Half_Bath"]))
    skip = {"", "rownames", "Sale_Price", "Longitude", "Latitude"}
    columns, names = [], []
    for name in rows[0]:
        if name in skip:
            continue
        texts = [r[name] for r in rows]
        if all(is_number(t) for t in texts if t):
            values = np.array([float(t or "nan") for t in texts])
            values[np.isnan(values)] = np.nanmedian(values)
            z = (values - values.mean()) / (values.std() or 1)
            if (z**3).mean() > SKEWED and values.min() >= 0:
                values = np.log1p(values)
                z = (values - values.mean()) / (values.std() or 1)
            columns.append(z.clip(-4, 4))
            names.append(name)
        else:
            for value in sorted(set(texts)):
                if texts.count(value) >= 10:
                    columns.append(np.array([t == value for t in texts], dtype=float))
                    names.append(f"{name}={value}")
    return np.stack(columns, 1).astype(np.float32), names


class Net(nn.Module):
    """A linear model beside a small network: each learns what the other leaves."""

    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs, 1)
        self.deep = nn.Sequential(
            nn.Linear(inputs, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1, bias=False)
        )

    def forward(self, x):
        return (self.linear(x) + self.deep(x)).squeeze(1)


def fit(x, y):
    model = Net(x.shape[1])
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.linear.parameters(), "weight_decay": 0.05},
            {"params": model.deep.parameters(), "weight_decay": 0.5},
        ],
        lr=3e-3,
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=6e-3, total_steps=EPOCHS * len(loader)
    )
    criterion = nn.HuberLoss(delta=0.5)  # a few odd sales shall not decide
    for _ in range(EPOCHS):
        for xb, yb in loader:
            loss = criterion(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    return model.eval()


def rmse(a, b):
    return (a - b).square().mean().sqrt().item()


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    rows = read_csv("ames_housing.csv.gz")
    matrix, names = features(rows)
    price = torch.tensor([float(r["Sale_Price"]) for r in rows]).log()
    print(f"{len(rows)} houses, {len(names)} features")

    order = torch.randperm(len(rows))
    test, train = order[:TEST], order[TEST:]
    x = torch.tensor(matrix)
    mean, deviation = price[train].mean(), price[train].std()
    y = (price - mean) / deviation  # of the logarithm
    folds = train.chunk(FOLDS)
    scores, guesses = [], []
    for k, held in enumerate(folds):
        rest = torch.cat([f for i, f in enumerate(folds) if i != k])
        model = fit(x[rest], y[rest])
        with torch.no_grad():
            error = rmse(model(x[held]) * deviation + mean, price[held])
            guesses.append(model(x[test]) * deviation + mean)
        print(f"fold {k + 1}/{FOLDS}: error of log(price) {error:.4f}")
        scores.append(error)

    guess = torch.stack(guesses).mean(0)
    path = write_csv(
        "ames_submission.csv",
        ["Id", "SalePrice"],
        [[rows[i]["rownames"], round(p)] for i, p in zip(test, guess.exp().tolist(), strict=True)],
    )
    print(f"\nwrote {path}\n")
    table(
        ["some houses", "year", "sq. feet", "price", "predicted"],
        [
            [
                rows[i]["Neighborhood"].replace("_", " "),
                rows[i]["Year_Built"],
                rows[i]["Gr_Liv_Area"],
                f"{price[i].exp().item():,.0f}",
                f"{g.exp().item():,.0f}",
            ]
            for i, g in zip(test[:10], guess[:10], strict=True)
        ],
    )
    nothing = rmse(mean.expand(TEST), price[test])
    print(f"\nvalidation, mean of {FOLDS} folds: {np.mean(scores):.4f}")
    print(f"error of the mean price alone: {nothing:.4f}")
    result("error of log(price)", rmse(guess, price[test]), time.perf_counter() - start)


if __name__ == "__main__":
    main()
