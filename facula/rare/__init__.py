"""Names of `torch` that few programs use: looked up, and loaded, when first asked for.

`HOMES` says where the real ones stand. What facula does not do is listed in `absent.py`, each name
with the reason and with what to use instead.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "checks": "_assert _assert_async _check _check_index _check_is_size _check_not_implemented "
    "_check_tensor_all _check_type _check_value _check_with",
    "recurrent": "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell",
    "sparse": "ccol_indices_copy col_indices_copy crow_indices_copy dsmm hsmm hspmm indices_copy "
    "resize_as_sparse_ row_indices_copy saddmm smm spmm sspaddmm values_copy",
    "segments": "_chunk_cat _segment_reduce _unsafe_masked_index "
    "_unsafe_masked_index_put_accumulate segment_reduce",
    "quantization": "dequantize fake_quantize_per_channel_affine "
    "fake_quantize_per_tensor_affine fused_moving_avg_obs_fake_quant qscheme",
    "odds": "FatalError Tag batch_norm_update_stats cond cudnn_is_acceptable "
    "embedding_renorm_ from_file get_device_module has_lapack has_mkl has_openmp has_spectral "
    "hash_tensor init_num_threads is_anomaly_check_nan_enabled legacy_contiguous_format lobpcg "
    "mkldnn_convolution slice_inverse sym_constrain_range sym_constrain_range_for_size "
    "sym_fresh_size thread_safe_generator view_as_complex_copy view_as_real_copy",
}
_HOME_OF = {name: home for home, names in HOMES.items() for name in names.split()}
_ELSEWHERE = {
    "DisableTorchFunction": "overrides",
    "DisableTorchFunctionSubclass": "overrides",
    "GradScaler": "amp",
    **dict.fromkeys(
        "sparse_bsc_tensor sparse_bsr_tensor sparse_compressed_tensor sparse_coo_tensor "
        "sparse_csc_tensor sparse_csr_tensor".split(),
        "sparse",
    ),
    "JITException": "jit",
}
_OTHER_NAMES = {"JITException": "Error"}


def lookup(name: str) -> Any:
    """The value of a rare name; AttributeError where there is none."""
    if name in _HOME_OF:
        return getattr(importlib.import_module("facula.rare." + _HOME_OF[name]), name)
    if name in _ELSEWHERE:
        home = importlib.import_module("facula." + _ELSEWHERE[name])
        return getattr(home, _OTHER_NAMES.get(name, name))
    if name.startswith("_foreach_"):
        return importlib.import_module("facula.rare.foreach").lookup(name.removeprefix("_foreach_"))
    return importlib.import_module("facula.rare.absent").absent(name)
