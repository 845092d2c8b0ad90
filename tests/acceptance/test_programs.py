"""Idioms of well-known programs, whole: the figures are what PyTorch 2.13 printed for them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import facula as torch
from facula import nn


class WordModel(nn.Module):
    """The language model of PyTorch's examples: LSTM, tied weights, dropout between layers."""

    def __init__(self, tokens=23, width=16, layers=2, dropout=0.2):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(tokens, width)
        self.rnn = nn.LSTM(width, width, layers, dropout=dropout)
        self.decoder = nn.Linear(width, tokens)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x, hidden):
        out, hidden = self.rnn(self.drop(self.encoder(x)), hidden)
        return torch.log_softmax(self.decoder(self.drop(out)).flatten(0, 1), 1), hidden


def word_language_model():
    """Truncated back-propagation through time, plain SGD by hand; then words are drawn."""
    torch.manual_seed(2)
    stream = (torch.arange(600) * 31 % 23).view(5, -1).t().contiguous()
    model = WordModel()
    hidden = tuple(next(model.parameters()).new_zeros(2, 5, 16) for _ in "hc")
    losses = []
    for i in range(0, 100, 10):
        hidden = tuple(part.detach() for part in hidden)
        model.zero_grad()
        out, hidden = model(stream[i : i + 10], hidden)
        loss = nn.functional.nll_loss(out, stream[i + 1 : i + 11].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-5)
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        x, hidden = torch.randint(23, (1, 1)), tuple(torch.zeros(2, 1, 16) for _ in "hc")
        words = []
        for _ in range(6):
            out, hidden = model(x, hidden)
            word = torch.multinomial(out.squeeze().div(0.8).exp(), 1)[0]
            x.fill_(word)
            words.append(word.item())
    return [sum(losses[:5]), sum(losses[5:]), *words]


def wgan_with_gradient_penalty():
    """A penalty on the norm of the critic's gradient: a derivative of a derivative.

    In float64: RMSprop's first steps have the same size for the smallest gradients, so rounding shows.
    """
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)).double()
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        real, fake = torch.randn(32, 64).double(), torch.rand(32, 64).double()
        a = torch.rand(32, 1).double()
        x = (a * real + (1 - a) * fake).requires_grad_(True)
        score = critic(x)
        (grad,) = torch.autograd.grad(score, x, torch.ones_like(score), create_graph=True)
        penalty = ((grad.norm(2, dim=1) - 1) ** 2).mean() * 10
        loss = critic(fake).mean() - critic(real).mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def q_learning():
    """Deep Q-learning with a slowly following target network; the figures come from NumPy."""
    torch.manual_seed(1)
    rng = np.random.RandomState(1)
    net, target = (nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 2)) for _ in range(2))
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(20):
        now, then = (torch.tensor(rng.randn(8, 4), dtype=torch.float32) for _ in range(2))
        action, reward = torch.tensor(rng.randint(0, 2, (8, 1))), torch.tensor(rng.rand(8))
        with torch.no_grad():
            best, _ = target(then).max(dim=1)
            goal = reward + 0.99 * best
        taken = net(now).gather(1, action).squeeze()
        loss = nn.functional.mse_loss(goal.float(), taken)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
            slow.data.copy_(0.1 * fast.data + 0.9 * slow.data)
    return [loss.item(), taken.mean().item(), math.fsum(net(now).argmax(1).tolist())]


FIGURES = {
    "word_language_model": [15.696441, 15.698519, 6, 15, 15, 14, 19, 7],
    "wgan_with_gradient_penalty": [5.488397, 3.407292, 1.993524, 0.360956],
    "q_learning": [0.290578, 0.794798, 0.0],
}


@pytest.mark.parametrize("program", [word_language_model, wgan_with_gradient_penalty, q_learning])
def test_it_prints_what_it_prints_with_pytorch(program):
    assert program() == pytest.approx(FIGURES[program.__name__], rel=1e-4)
