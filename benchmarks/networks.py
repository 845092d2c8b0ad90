"""Whole networks at the sizes people train on a laptop, registered with the smaller workloads.

Take WORKLOADS from here: it is complete once this file is imported.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import WORKLOADS, trainer, workload

__all__ = ["WORKLOADS"]


def residual_block(torch: Any, wide: int, out: int, stride: int) -> Any:
    """Two 3x3 convolutions with batch norms beside a shortcut (He et al. 2015)."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                *(nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()),
                *(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)),
            )
            same = stride == 1 and wide == out
            project = (nn.Conv2d(wide, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            self.shortcut = nn.Identity() if same else nn.Sequential(*project)

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    return Block()


@workload
def resnet18_train(torch, wrap):
    """A training step of ResNet-18 for 32 x 32 images, batch 16, SGD with momentum."""
    nn = torch.nn
    plan = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    plan += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(residual_block(torch, *sizes) for sizes in plan),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )
    x, y = torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    return trainer(optimizer, wrap(lambda: nn.functional.cross_entropy(model(x), y)))


def transformer(torch: Any, words: int, length: int, layers: int, heads: int, wide: int) -> Any:
    """GPT-2's decoder: pre-norm blocks, learned positions (Radford et al. 2019)."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(wide), nn.LayerNorm(wide)
            self.qkv, self.out = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)
            self.mlp = nn.Sequential(
                nn.Linear(wide, 4 * wide), nn.GELU(), nn.Linear(4 * wide, wide)
            )

        def forward(self, x):
            batch, time, _ = x.shape
            heads_of = self.qkv(self.norm1(x)).view(batch, time, 3, heads, wide // heads)
            q, k, v = heads_of.permute(2, 0, 3, 1, 4).unbind(0)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(batch, time, wide))
            return x + self.mlp(self.norm2(x))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(words, wide), nn.Embedding(length, wide)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(wide), nn.Linear(wide, words, bias=False)

        def forward(self, index):
            places = self.places(torch.arange(index.shape[1]))
            return self.head(self.norm(self.blocks(self.words(index) + places)))

    return Transformer()


@workload
def gpt_train(torch, wrap):
    """A training step of a character GPT: 6 layers, 384 wide, 8 sequences of 128, AdamW."""
    model = transformer(torch, 65, 128, 6, 6, 384)
    x, y = torch.randint(0, 65, (8, 128)), torch.randint(0, 65, (8, 128))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = torch.nn.functional.cross_entropy
    return trainer(optimizer, wrap(lambda: loss(model(x).flatten(0, 1), y.flatten())))


@workload
def gpt2_infer(torch, wrap):
    """GPT-2 small: 12 layers, 768 wide, 50,257 words, one forward pass over 64 of them."""
    model = transformer(torch, 50257, 64, 12, 12, 768).eval()
    x = torch.randint(0, 50257, (1, 64))
    forward = wrap(model)

    def step():
        with torch.no_grad():
            return forward(x)[0, -1].sum().item()

    return step


@workload
def lstm_train(torch, wrap):
    """A training step of a two-layer LSTM, 256 wide, over 32 sequences of 64, Adam."""
    nn = torch.nn
    rnn, head = nn.LSTM(64, 256, 2, batch_first=True), nn.Linear(256, 10)
    x, y = torch.randn(32, 64, 64), torch.randint(0, 10, (32,))
    optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=1e-3)
    return trainer(optimizer, wrap(lambda: nn.functional.cross_entropy(head(rnn(x)[0][:, -1]), y)))
