from facula.utils.data import DataLoader, Dataset

class MyDataset(Dataset):
    def __init__(self, data):
        self.data = data

    def __getitem__(self, idx):
        return self.data[idx]

    def __len__(self):
        return len(self.data)

loader = DataLoader(MyDataset([1,2,3,4]), batch_size=2)

# --- looked at besides
for batch in loader:
    print(batch)
print(len(loader))
