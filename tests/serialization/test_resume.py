"""Training that is saved and goes on in another process ends with the same bits."""

import hashlib
import subprocess
import sys

import facula as torch
from facula import nn
from facula.utils.data import DataLoader, TensorDataset


class Training:
    def __init__(self):
        torch.manual_seed(0)
        self.shuffle = torch.Generator().manual_seed(7)
        data = TensorDataset(torch.randn(40, 6), torch.randn(40, 1))
        self.loader = DataLoader(data, batch_size=8, shuffle=True, generator=self.shuffle)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.5)

    def run(self, epochs):
        for _ in range(epochs):
            for x, y in self.loader:
                self.optimizer.zero_grad()
                nn.functional.mse_loss(self.model(x), y).backward()
                self.optimizer.step()
            self.scheduler.step()

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def save(self, path):
        states = {name: part.state_dict() for name, part in self.parts().items()}
        random = [torch.get_rng_state(), self.shuffle.get_state()]
        torch.save({**states, "random": random}, path)

    def load(self, path):
        states = torch.load(path, weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(states[name])
        torch.set_rng_state(states["random"][0])
        self.shuffle.set_state(states["random"][1])

    def fingerprint(self):
        hashed = hashlib.sha256(repr(self.scheduler.state_dict()).encode())
        tensors = [*self.model.state_dict().values()]
        for state in self.optimizer.state_dict()["state"].values():
            tensors += state.values()
        for t in tensors:
            hashed.update(t.detach().numpy().tobytes())
        return hashed.hexdigest()


def test_five_epochs_and_five_more_are_ten(tmp_path):
    whole = Training()
    whole.run(10)
    first = Training()
    first.run(5)
    first.save(tmp_path / "state.pt")
    assert first.fingerprint() != whole.fingerprint()
    program = (
        "import sys; from tests.serialization.test_resume import Training\n"
        "t = Training(); t.load(sys.argv[1]); t.run(5); print(t.fingerprint())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "state.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == whole.fingerprint()
