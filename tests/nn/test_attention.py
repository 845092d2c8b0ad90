"""nn.attention: which kernels are allowed, flex_attention and its block masks."""

import math

import pytest

import facula as torch
from facula.nn.attention import SDPBackend, sdpa_kernel
from facula.nn.attention import _cur_sdpa_kernel_backends as allowed
from facula.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    and_masks,
    create_block_mask,
    create_mask,
    flex_attention,
)


def causal(b, h, q, kv):
    return q >= kv


def test_sdpa_kernel():
    before = allowed()
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert allowed() == [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]
    assert allowed() == before
    with pytest.raises(AssertionError, match="instance of SDPBackend"), sdpa_kernel(["math"]):
        pass


def test_blocks():
    mask = create_block_mask(causal, None, None, 6, 6, BLOCK_SIZE=2)
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 1]]]  # the diagonal, to be asked
    assert mask.full_kv_num_blocks.tolist() == [[[0, 1, 2]]]
    assert mask.to_dense().tolist() == [[[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]]
    assert mask.shape == (1, 1, 6, 6) and mask.sparsity() == pytest.approx(100 / 3)
    assert mask._adjust(4, 4).to_dense().tolist() == [[[[1, 0], [1, 1]]]]
    again = BlockMask.from_kv_blocks(mask.kv_num_blocks, mask.kv_indices, BLOCK_SIZE=2)
    assert again.q_num_blocks.tolist() == mask.q_num_blocks.tolist()


def test_mask_functions():
    both = and_masks(causal, lambda b, h, q, kv: q - kv < 2)
    assert create_mask(both, 1, 1, 3, 3)[0, 0].tolist() == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]
    with pytest.raises(AssertionError, match="got 1"):
        create_mask(lambda a: a, 1, 1, 2, 2)


def test_flex_attention_is_softmax_of_changed_scores():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 6, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 3))
    mask = create_block_mask(causal, None, None, 6, 5, BLOCK_SIZE=4)
    output, aux = flex_attention(
        q,
        k,
        v,
        lambda score, b, h, i, j: score + h * 0.1 * (j - i),
        mask,
        enable_gqa=True,
        return_aux=AuxRequest(lse=True),
    )
    rows, columns = torch.arange(6).view(6, 1), torch.arange(5)
    for head in range(4):
        scores = q[:, head] @ k[:, head // 2].transpose(1, 2) / math.sqrt(8)
        scores = scores + head * 0.1 * (columns - rows)
        scores = scores.masked_fill(rows < columns, float("-inf"))
        wanted = torch.softmax(scores, -1) @ v[:, head // 2]
        assert torch.allclose(output[:, head], wanted, atol=1e-5)
        assert torch.allclose(aux.lse[:, head], scores.logsumexp(-1), atol=1e-5)


def test_rows_without_keys_are_zero():
    x = torch.ones(1, 1, 3, 2)
    mask = create_block_mask(lambda b, h, q, kv: (q > 0) & (kv >= 0), 1, 1, 3, 3)
    output, lse = flex_attention(x, x, x, block_mask=mask, return_lse=True)
    assert output[0, 0].tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert lse[0, 0, 0].item() == float("-inf")
