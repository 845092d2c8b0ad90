"""A small GPT that reads Shakespeare letter by letter, and then writes."""

import time

from common import chart, read_text, result

import facula as torch
import facula.nn as nn
import facula.nn.functional as F

STEPS, BATCH, CONTEXT = 700, 24, 64
WIDTH, HEADS, LAYERS = 128, 4, 3


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, length, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.token = nn.Embedding(letters, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, letters, bias=False)
        self.apply(self.initialise)

    def initialise(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.04)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, letters):
        x = self.token(letters) + self.position(torch.arange(letters.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def batch(data):
    """Pieces of the text, and the same pieces one letter further on."""
    start = torch.randint(len(data) - CONTEXT - 1, (BATCH, 1))
    at = start + torch.arange(CONTEXT + 1)
    pieces = data[at]
    return pieces[:, :-1], pieces[:, 1:]


def loss_of(model, data):
    x, y = batch(data)
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def write(model, prompt, letters, count, temperature=0.7):
    """Continues a prompt, one letter drawn after the other."""
    index = {c: i for i, c in enumerate(letters)}
    # always a full window, so that every step has the same shape
    window = torch.full((1, CONTEXT), index["\n"])
    window[0, -len(prompt) :] = torch.tensor([index[c] for c in prompt])
    out = []
    for _ in range(count):
        chances = F.softmax(model(window)[0, -1] / temperature, dim=0)
        drawn = torch.multinomial(chances, 1)
        out.append(letters[drawn.item()])
        window = torch.cat([window[:, 1:], drawn[None]], dim=1)
    return prompt + "".join(out)


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    text = read_text("shakespeare.txt.gz")
    letters = sorted(set(text))
    index = {c: i for i, c in enumerate(letters)}
    data = torch.tensor([index[c] for c in text])
    train, test = data[: int(0.95 * len(data))], data[int(0.95 * len(data)) :]
    model = GPT(len(letters))
    print(f"{len(text):,} letters, {sum(p.numel() for p in model.parameters()):,} parameters")

    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=STEPS, pct_start=0.1, cycle_momentum=False
    )
    losses, begin = [], time.perf_counter()
    for step in range(1, STEPS + 1):
        loss = loss_of(model, train)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if step % 100 == 0:
            each = 1000 * (time.perf_counter() - begin) / 100
            mean = sum(losses[-100:]) / 100
            print(f"step {step}/{STEPS}: loss {mean:.3f}, {each:.0f} ms a step")
            begin = time.perf_counter()

    model.eval()
    with torch.no_grad():
        test_loss = sum(loss_of(model, test).item() for _ in range(20)) / 20
    print("\n" + write(model, "\nROMEO.\nWhat", letters, 500).strip())
    chart(losses, "loss")
    result("loss on unread text", test_loss, time.perf_counter() - start)


if __name__ == "__main__":
    main()
