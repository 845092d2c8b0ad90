# The text speaks of these arguments without showing code.
import facula as torch

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

for index, (x, y) in enumerate(train_loader):
    print(f"Batch {index + 1}:", x, y)
train_loader = DataLoader(train_ds, batch_size=2, shuffle=True, num_workers=0, drop_last=True)
for epoch in range(2):
    for index, (x, y) in enumerate(train_loader):
        print(f"Batch {index + 1}:", x, y)
