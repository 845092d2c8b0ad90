"""Layers: what they add to the functions they call."""

import copy

import pytest

import facula as torch
from facula import nn

REPRS = {
    "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=2, bias=False)": (
        lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    ),
    "Conv1d(1, 1, kernel_size=(3,), stride=(1,), padding=same, padding_mode=reflect)": (
        lambda: nn.Conv1d(1, 1, 3, padding="same", padding_mode="reflect")
    ),
    "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)": (
        lambda: nn.BatchNorm2d(3)
    ),
    "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)": (
        lambda: nn.MaxPool2d(2)
    ),
    "Embedding(5, 2, padding_idx=4, sparse=True)": lambda: nn.Embedding(
        5, 2, padding_idx=-1, sparse=True
    ),
    "LSTM(2, 3, num_layers=2, batch_first=True, dropout=0.5)": lambda: nn.LSTM(
        2, 3, 2, batch_first=True, dropout=0.5
    ),
    "GELU(approximate='tanh')": lambda: nn.GELU("tanh"),
    "Upsample(scale_factor=2.0, mode='nearest')": lambda: nn.Upsample(scale_factor=2),
    "LazyLinear(in_features=0, out_features=3, bias=True)": lambda: nn.LazyLinear(3),
}


@pytest.mark.parametrize("text", REPRS)
def test_repr(text):
    assert repr(REPRS[text]()) == text


def test_running_statistics():
    norm = nn.BatchNorm1d(2)
    norm(torch.tensor([[0.0, 2.0], [2.0, 6.0]]))
    assert norm.running_mean.tolist() == pytest.approx([0.1, 0.4])
    assert norm.running_var.tolist() == pytest.approx([1.1, 1.7])
    assert norm.num_batches_tracked.item() == 1
    state = norm.state_dict()
    del state["num_batches_tracked"], state._metadata  # as before version 2
    assert not norm.load_state_dict(state).missing_keys
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        norm(torch.ones(2))


def test_lazy():
    layer = nn.LazyLinear(3)
    assert layer.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="shape of an uninitialized"):
        _ = layer.weight.shape
    state = nn.Linear(4, 3).state_dict()
    layer.load_state_dict(state)  # gives it its shape
    assert layer(torch.ones(2, 4)).shape == (2, 3)
    assert type(layer) is nn.Linear and type(layer.weight) is nn.Parameter
    conv = nn.LazyConv2d(2, 3)
    conv(torch.ones(1, 5, 4, 4))
    assert conv.weight.shape == (2, 5, 3, 3) and type(conv) is nn.Conv2d


def test_conv_settings_are_checked():
    for kwargs, message in (
        ({"groups": 3}, "in_channels must be divisible by groups"),
        ({"padding": "half"}, "Invalid padding string 'half'"),
        ({"padding": "same", "stride": 2}, "not supported for strided"),
        ({"padding_mode": "wrap"}, "padding_mode must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.Conv2d(4, 4, 3, **kwargs)


def test_transposed_output_size():
    conv = nn.ConvTranspose2d(1, 1, 3, stride=2)
    x = torch.ones(1, 1, 4, 4)
    assert conv(x, output_size=(10, 9)).shape == (1, 1, 10, 9)
    with pytest.raises(ValueError, match=r"valid sizes range from \[9, 9\] to \[10, 10\]"):
        conv(x, output_size=(3, 3))


def test_embedding():
    table = nn.Embedding(5, 2, padding_idx=1)
    assert table.weight[1].tolist() == [0.0, 0.0]
    fixed = nn.Embedding.from_pretrained(torch.ones(3, 2))
    assert not fixed.weight.requires_grad and fixed(torch.tensor([2])).tolist() == [[1.0, 1.0]]
    with pytest.raises(AssertionError, match="Padding_idx"):
        nn.Embedding(3, 2, padding_idx=3)


def test_adaptive_softmax_sums_to_one():
    torch.manual_seed(0)
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2)
    x, target = torch.randn(4, 8), torch.tensor([0, 4, 9, 2])
    log_prob = layer.log_prob(x)
    assert torch.allclose(log_prob.exp().sum(1), torch.ones(4), atol=1e-5)
    output, loss = layer(x, target)
    assert torch.allclose(output, log_prob[torch.arange(4), target], atol=1e-5)
    assert loss.item() == pytest.approx(-output.mean().item(), rel=1e-5)
    assert torch.equal(layer.predict(x), log_prob.argmax(1))


def test_old_loss_arguments():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.raises(TypeError, match="delta must be"):
        nn.HuberLoss(delta="1")


# -- attention -------------------------------------------------------------------------


def test_attention_ignores_masked_keys():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    output, weights = attention(x, x, x, key_padding_mask=padding)
    assert weights.shape == (2, 5, 5) and weights[1, :, 3:].abs().max().item() == 0
    short, _ = attention(x[1:, :3], x[1:, :3], x[1:, :3])
    assert torch.allclose(output[1, :3], short[0], atol=1e-6)


def test_causal_transformer_does_not_look_ahead():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    x = torch.randn(1, 5, 8)
    y = x.clone()
    y[:, 3:] = 0
    a, b = model(x, mask=mask, is_causal=True), model(y, mask=mask)
    assert torch.allclose(a[:, :3], b[:, :3], atol=1e-6)


def test_encoder_zeroes_padding_in_inference_as_pytorch():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1).eval()
    x = torch.randn(1, 4, 8)
    padding = torch.tensor([[False, False, True, True]])
    with torch.no_grad():
        assert model(x, src_key_padding_mask=padding)[0, 2:].abs().max().item() == 0
    assert model(x, src_key_padding_mask=padding)[0, 2:].abs().max().item() > 0


def test_copies_of_lazy_layers_are_on_their_own():
    layer = nn.LazyLinear(3)
    twin = copy.deepcopy(layer)
    assert twin(torch.ones(2, 4)).shape == twin(torch.ones(2, 4)).shape == (2, 3)
    assert layer(torch.ones(2, 5)).shape == (2, 3)
    assert (twin.in_features, layer.in_features) == (4, 5)


def test_label_smoothing_is_within_bounds():
    x, target = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([1])
    plain = nn.CrossEntropyLoss()(x, target)
    for labels in (target, torch.tensor([[0.2, 0.5, 0.3]])):
        with pytest.raises(RuntimeError, match=r"between 0.0 and 1.0. Got: 1.5"):
            nn.CrossEntropyLoss(label_smoothing=1.5)(x, labels)
    # PyTorch takes less than nothing for nothing
    assert nn.CrossEntropyLoss(label_smoothing=-0.1)(x, target).item() == plain.item()


def test_lazy_norms_are_converted_before_they_know_their_size():
    norm = nn.LazyBatchNorm1d().double()
    assert norm(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert norm.running_mean.shape == (3,) and norm.running_var.dtype == torch.float64
