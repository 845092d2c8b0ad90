"""BlockMask: which blocks of an attention matrix a mask function leaves."""

from __future__ import annotations

import inspect

import facula as torch

_DEFAULT_SPARSE_BLOCK_SIZE = 128
_TENSORS = (
    "kv_num_blocks",
    "kv_indices",
    "full_kv_num_blocks",
    "full_kv_indices",
    "q_num_blocks",
    "q_indices",
    "full_q_num_blocks",
    "full_q_indices",
)


def noop_mask(batch, head, token_q, token_kv):
    """A mask function that leaves everything."""
    return batch.new_ones((), dtype=torch.bool, device=batch.device)


def and_masks(*mask_mods):
    """The mask function that leaves what all of these leave."""
    return _joined(mask_mods, lambda a, b: a & b, True)


def or_masks(*mask_mods):
    """The mask function that leaves what any of these leaves."""
    return _joined(mask_mods, lambda a, b: a | b, False)


def _joined(mask_mods, join, start):
    if not all(callable(mod) for mod in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def joined(b, h, q_idx, kv_idx):
        result = b.new_full((), start, dtype=torch.bool)
        for mod in mask_mods:
            result = join(result, mod(b, h, q_idx, kv_idx))
        return result

    return joined


# -- masks as tensors -----------------------------------------------------------------


def _grids(batch, heads, q_len, kv_len, device):
    """Index tensors b, h, q, kv that broadcast to (batch, heads, q_len, kv_len)."""
    return tuple(
        torch.arange(size, device=device).view([-1 if d == dim else 1 for d in range(4)])
        for dim, size in enumerate((batch, heads, q_len, kv_len))
    )


def _takes_score(mod):
    """Whether a function has the arguments of a score_mod (5) or of a mask_mod (4)."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(mod).parameters.values()
    wanted = [p for p in parameters if p.kind in positional and p.default is p.empty]
    if len(wanted) not in (4, 5):
        raise AssertionError(f"Expected 4 or 5 positional args, got {len(wanted)}")
    return len(wanted) == 5


def create_mask(mod_fn, B, H, Q_LEN: int, KV_LEN: int, device=None):
    """The bool tensor (B, H, Q_LEN, KV_LEN) of a mask function, or of a score function."""
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    grids = _grids(*shape, device)
    if _takes_score(mod_fn):
        scores = mod_fn(torch.zeros(shape, device=device), *grids)
        return (scores != float("-inf")).expand(shape)
    mask = mod_fn(*grids)
    return mask.expand(shape) if isinstance(mask, torch.Tensor) else torch.full(shape, bool(mask))


def _ordered(dense):
    """(how many, which first) of the True entries of each row, as int32."""
    dense = dense.to(torch.int32)
    counts = dense.sum(-1)
    order = torch.argsort(dense, dim=-1, descending=True, stable=True)
    return counts.to(torch.int32), order.to(torch.int32)


def _dense(counts, indices):
    """The opposite of _ordered: int32 ones at the chosen places."""
    columns = indices.size(-1)
    chosen = torch.arange(columns, device=indices.device) < counts.unsqueeze(-1)
    dense = torch.zeros(*indices.shape, dtype=torch.int32, device=indices.device)
    return dense.scatter_add(-1, indices.to(torch.int64), chosen.to(torch.int32))


def _both_sides(dense):
    """_ordered by rows and by columns."""
    return (*_ordered(dense), *_ordered(dense.transpose(-2, -1)))


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def _up(n, multiple):
    return (n + multiple - 1) // multiple * multiple


def create_block_mask(
    mask_mod,
    B,
    H,
    Q_LEN: int,
    KV_LEN: int,
    device=None,
    BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE,
    _compile=False,
    separate_full_blocks: bool = True,
    compute_dq_write_order: bool = False,
    dq_kv_order: bool = True,
) -> BlockMask:
    """The blocks of a mask function mask_mod(b, h, q_idx, kv_idx) -> bool.

    >>> mask = create_block_mask(lambda b, h, q, kv: q >= kv, None, None, 512, 512)
    >>> mask.shape, mask.sparsity()
    ((1, 1, 512, 512), 37.5)
    """
    if compute_dq_write_order:
        raise NotImplementedError(
            "create_block_mask(compute_dq_write_order=True) orders the writes of a CUDA kernel "
            "that facula does not use; leave it out"
        )
    rows, columns = _pair(BLOCK_SIZE)
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    padding = (0, _up(KV_LEN, columns) - KV_LEN, 0, _up(Q_LEN, rows) - Q_LEN)
    mask = torch.nn.functional.pad(mask, padding, value=False)
    blocks = mask.view(
        *mask.shape[:2], mask.size(2) // rows, rows, mask.size(3) // columns, columns
    )
    taken = blocks.permute(0, 1, 2, 4, 3, 5).sum((-2, -1))
    full = taken == rows * columns
    partial = taken > 0
    if separate_full_blocks:
        partial = partial & ~full
    kv_num, kv_at, q_num, q_at = _both_sides(partial)
    full_parts = _both_sides(full) if separate_full_blocks else (None,) * 4
    block_mask = BlockMask(
        (Q_LEN, KV_LEN),
        kv_num,
        kv_at,
        full_parts[0],
        full_parts[1],
        q_num,
        q_at,
        full_parts[2],
        full_parts[3],
        BLOCK_SIZE=(rows, columns),
        mask_mod=mask_mod,
    )
    block_mask._blocks_follow_mask = True
    return block_mask


class BlockMask:
    """An attention mask as a mask function and the blocks in which it leaves something.

    Blocks are listed per row (kv_...) and per column (q_...), those left whole (full_...)
    apart from those in which the mask function must be asked.
    """

    _blocks_follow_mask = False  # True where the mask function alone says everything

    def __init__(
        self,
        seq_lengths,
        kv_num_blocks,
        kv_indices,
        full_kv_num_blocks,
        full_kv_indices,
        q_num_blocks,
        q_indices,
        full_q_num_blocks,
        full_q_indices,
        BLOCK_SIZE=(_DEFAULT_SPARSE_BLOCK_SIZE, _DEFAULT_SPARSE_BLOCK_SIZE),
        mask_mod=noop_mask,
        *,
        dq_write_order=None,
        dq_write_order_full=None,
        dq_kv_order=None,
        dq_kv_order_spt: bool | None = None,
    ) -> None:
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be given together")
        self.seq_lengths = tuple(seq_lengths)
        self.kv_num_blocks = kv_num_blocks
        self.kv_indices = kv_indices
        self.full_kv_num_blocks = full_kv_num_blocks
        self.full_kv_indices = full_kv_indices
        self.q_num_blocks = q_num_blocks
        self.q_indices = q_indices
        self.full_q_num_blocks = full_q_num_blocks
        self.full_q_indices = full_q_indices
        self.BLOCK_SIZE = tuple(BLOCK_SIZE)
        self.mask_mod = mask_mod
        self.dq_write_order = dq_write_order
        self.dq_write_order_full = dq_write_order_full
        self.dq_kv_order = dq_kv_order
        self.dq_kv_order_spt = dq_kv_order_spt

    @classmethod
    def from_kv_blocks(
        cls,
        kv_num_blocks,
        kv_indices,
        full_kv_num_blocks=None,
        full_kv_indices=None,
        BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE,
        mask_mod=None,
        seq_lengths=None,
        compute_q_blocks: bool = True,
        *,
        dq_write_order=None,
        dq_write_order_full=None,
        dq_kv_order=None,
    ):
        """A BlockMask from the blocks per row; those per column are computed."""
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        size = _pair(BLOCK_SIZE)
        parts = [kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices]
        for counts, at in ((kv_num_blocks, kv_indices), (full_kv_num_blocks, full_kv_indices)):
            if compute_q_blocks and counts is not None:
                parts += _ordered(_dense(counts, at).transpose(-2, -1))
            else:
                parts += [None, None]
        if seq_lengths is None:
            seq_lengths = (kv_indices.size(-2) * size[0], kv_indices.size(-1) * size[1])
        return cls(seq_lengths, *parts, BLOCK_SIZE=size, mask_mod=mask_mod or noop_mask)

    def as_tuple(self, flatten: bool = True):
        """The parts, in the order PyTorch's kernels take them."""
        tensors = [getattr(self, name) for name in _TENSORS]
        order = (self.dq_write_order, self.dq_write_order_full)
        order += (self.dq_kv_order, self.dq_kv_order_spt)
        head = self.seq_lengths if flatten else (self.seq_lengths,)
        size = self.BLOCK_SIZE if flatten else (self.BLOCK_SIZE,)
        return (*head, *tensors, *order, *size, self.mask_mod)

    @property
    def shape(self):
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def _with(self, change, seq_lengths=None):
        """A copy with every tensor changed."""
        tensors = (getattr(self, name) for name in _TENSORS)
        changed = [None if t is None else change(t) for t in tensors]
        copy = type(self)(
            seq_lengths or self.seq_lengths,
            *changed,
            BLOCK_SIZE=self.BLOCK_SIZE,
            mask_mod=self.mask_mod,
        )
        copy._blocks_follow_mask = self._blocks_follow_mask
        return copy

    def __getitem__(self, index):
        """The mask of some batches and heads; their dimensions stay."""
        index = index if isinstance(index, tuple) else (index,)
        kept = tuple(slice(i, i + 1 or None) if isinstance(i, int) else i for i in index)
        copy = self._with(lambda t: t[kept])
        copy.mask_mod = _sliced_mask_mod
        copy._blocks_follow_mask = False
        return copy

    def _adjust(self, new_q_len: int, new_kv_len: int):
        """The mask of other sequence lengths, with the blocks that are left."""
        rows = _up(new_q_len, self.BLOCK_SIZE[0]) // self.BLOCK_SIZE[0]
        columns = _up(new_kv_len, self.BLOCK_SIZE[1]) // self.BLOCK_SIZE[1]
        parts = []
        for counts, at in (
            (self.kv_num_blocks, self.kv_indices),
            (self.full_kv_num_blocks, self.full_kv_indices),
        ):
            if counts is None:
                parts += [None, None]
                continue
            parts += _ordered(_dense(counts, at)[..., :rows, :columns])
        copy = self.from_kv_blocks(
            *parts, self.BLOCK_SIZE, self.mask_mod, seq_lengths=(new_q_len, new_kv_len)
        )
        copy._blocks_follow_mask = self._blocks_follow_mask
        return copy

    def numel(self) -> int:
        """Elements of the whole matrix."""
        total = 1
        for size in self.shape:
            total *= size
        return total

    def sparsity(self) -> float:
        """Percent of the matrix that needs no computing."""
        blocks = self.kv_num_blocks.sum().item()
        if self.full_kv_num_blocks is not None:
            blocks += self.full_kv_num_blocks.sum().item()
        computed = blocks * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1]
        return 100 * (1 - computed / self.numel())

    def to_dense(self):
        """int32 ones for the blocks in which something is left."""
        dense = _dense(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None:
            dense = dense | _dense(self.full_kv_num_blocks, self.full_kv_indices)
        return dense

    def to(self, device):
        """The mask with its tensors on a device."""
        return self._with(lambda t: t.to(device))

    def to_string(self, grid_size=(20, 20), limit: int = 4) -> str:
        """A picture of the first batches and heads: blocks, partial blocks, nothing."""
        grid = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        dense = self.to_dense()
        rows, columns = dense.shape[-2:]
        down = -(-rows // (rows if grid[0] == -1 else grid[0]))
        across = -(-columns // (columns if grid[1] == -1 else grid[1]))
        flat = dense.view(-1, rows, columns)
        pictures = []
        for number, matrix in enumerate(flat[:limit].tolist()):
            heads = self.kv_indices.size(1) if self.kv_indices.dim() > 3 else 1
            lines = [str(divmod(number, heads))]
            for top in range(0, rows, down):
                line = ""
                for left in range(0, columns, across):
                    cell = [v for r in matrix[top : top + down] for v in r[left : left + across]]
                    line += "██" if all(cell) else "░░" if any(cell) else "  "
                lines.append(line)
            pictures.append("\n".join(lines))
        if len(flat) > limit:
            pictures.append("...\nto_string(limit=...) shows more")
        return "\n\n".join(pictures)

    def __str__(self) -> str:
        head = f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n"
        return head + self.to_string() + "\n)"

    def __repr__(self) -> str:
        lines = []
        for name in _TENSORS:
            tensor = getattr(self, name)
            lines.append(f"    {name}={None if tensor is None else tensor.shape},")
        lines.append(f"    BLOCK_SIZE={self.BLOCK_SIZE},")
        lines.append(f"    shape={self.shape},")
        lines.append(f"    sparsity={self.sparsity():.2f}%,")
        name = getattr(self.mask_mod, "__name__", self.mask_mod)
        lines.append(f"    mask_mod={name}")
        return "BlockMask(\n" + "\n".join(lines) + "\n)"

    def _mask(self, batch, heads, device):
        """The bool tensor this mask stands for, where batch and heads may be more than its own."""
        q_len, kv_len = self.seq_lengths
        mask = create_mask(self.mask_mod, batch, heads, q_len, kv_len, device)
        if self._blocks_follow_mask:
            return mask
        mask = mask & self._per_element(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None:
            mask = mask | self._per_element(self.full_kv_num_blocks, self.full_kv_indices)
        return mask

    def _per_element(self, counts, indices):
        blocks = _dense(counts, indices).to(torch.bool)
        rows, columns = self.BLOCK_SIZE
        wide = blocks.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
        return wide[..., : self.seq_lengths[0], : self.seq_lengths[1]]


def _sliced_mask_mod(b, h, q_idx, kv_idx):
    raise RuntimeError(
        "Cannot use mask_mod from a sliced BlockMask: its function would see the wrong batch and "
        "head. Set block_mask.mask_mod to one made for the slice."
    )
