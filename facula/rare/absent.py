"""Names of `torch` that exist so that programs can mention them, and that say why they cannot be used.

Calling one, or making an object of one that is a class, raises NotImplementedError with the reason.
"""

from __future__ import annotations

import enum
from typing import Any

_SCRIPT = "belongs to the compiler of TorchScript; functions and modules run as they are: call them"
_CUDNN = "is an entry point of cuDNN for GPUs; use {use}, which picks the kernel itself"
_MIOPEN = "is an entry point of MIOpen for AMD GPUs; use {use}, which picks the kernel itself"
_MKLDNN = "works on tensors in oneDNN's layout, which facula does not make; use {use}"
_QUANTIZED = "works on quantized tensors, which facula does not make; use {use}"
_FBGEMM = "works on weights packed by FBGEMM; use torch.nn.functional.linear"
_SYNC = "is a CUDA kernel of synchronized batch norm; use torch.nn.functional.batch_norm"
_DISPATCH = "belongs to PyTorch's C++ dispatcher, which facula does not have; use torch.overrides"
_FILES = "is a C++ reader or writer of files; use torch.save and torch.load"

SCRIPT_CLASSES = frozenset(
    "AliasDb AnyType Argument ArgumentSpec AwaitType BenchmarkConfig BenchmarkExecutionStats Block "
    "BoolType BufferDict CallStack Capsule ClassType Code CompleteArgumentSpec ComplexType "
    "ConcreteModuleType ConcreteModuleTypeBuilder DeepCopyMemoTable DeserializationStorageContext "
    "DeviceObjType DictType EnumType ErrorReport ExecutionPlan FileCheck FloatType FunctionSchema "
    "FutureType Gradient Graph GraphExecutorState IODescriptor InferredType IntType InterfaceType "
    "ListType LiteScriptModule LockingLogger ModuleDict Node NoneType NoopLogger NumberType "
    "OperatorInfo OptionalType ParameterDict PyObjectType RRefType ScriptClass ScriptClassFunction "
    "ScriptDict ScriptDictIterator ScriptDictKeyIterator ScriptList ScriptListIterator ScriptMethod "
    "ScriptModuleSerializer ScriptObject ScriptObjectProperty SerializationStorageContext "
    "StaticModule StreamObjType StringType SymBoolType SymIntType TensorType ThroughputBenchmark "
    "TracingState TupleType Type UnionType Use Value".split()
)
_OTHER_CLASSES = {
    "DispatchKey": _DISPATCH,
    "DispatchKeySet": _DISPATCH,
    "ExcludeDispatchKeyGuard": _DISPATCH,
    "PyTorchFileReader": _FILES,
    "PyTorchFileWriter": _FILES,
}
# reason: names with what to use instead, where the reason has room for it
_FUNCTIONS = {
    _SCRIPT: "import_ir_module import_ir_module_from_buffer merge_type_from_type_comment parse_ir "
    "parse_schema parse_type_comment unify_type_list",
    _SYNC: "batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt "
    "batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats",
    _CUDNN: "cudnn_affine_grid_generator=nn.functional.affine_grid "
    "cudnn_batch_norm=nn.functional.batch_norm cudnn_convolution=convolution "
    "cudnn_convolution_add_relu=convolution cudnn_convolution_relu=convolution "
    "cudnn_convolution_transpose=convolution cudnn_grid_sampler=nn.functional.grid_sample",
    _MIOPEN: "miopen_batch_norm=nn.functional.batch_norm miopen_convolution=convolution "
    "miopen_convolution_add_relu=convolution miopen_convolution_relu=convolution "
    "miopen_convolution_transpose=convolution miopen_ctc_loss=nn.functional.ctc_loss "
    "miopen_depthwise_convolution=convolution miopen_rnn=nn.LSTM",
    _MKLDNN: "mkldnn_adaptive_avg_pool2d=nn.functional.adaptive_avg_pool2d "
    "mkldnn_linear_backward_weights=autograd.grad mkldnn_max_pool2d=nn.functional.max_pool2d "
    "mkldnn_max_pool3d=nn.functional.max_pool3d mkldnn_rnn_layer=nn.LSTM",
    _FBGEMM: "fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation "
    "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation "
    "fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix",
    _QUANTIZED: "choose_qparams_optimized=fake_quantize_per_tensor_affine empty_quantized=empty "
    "int_repr=Tensor.to q_per_channel_axis=Tensor.to q_per_channel_scales=Tensor.to "
    "q_per_channel_zero_points=Tensor.to q_scale=Tensor.to q_zero_point=Tensor.to "
    "quantize_per_channel=fake_quantize_per_channel_affine "
    "quantize_per_tensor=fake_quantize_per_tensor_affine "
    "quantize_per_tensor_dynamic=fake_quantize_per_tensor_affine "
    "quantized_batch_norm=nn.functional.batch_norm quantized_gru_cell=gru_cell "
    "quantized_lstm_cell=lstm_cell quantized_max_pool1d=nn.functional.max_pool1d "
    "quantized_max_pool2d=nn.functional.max_pool2d quantized_max_pool3d=nn.functional.max_pool3d "
    "quantized_rnn_relu_cell=rnn_relu_cell quantized_rnn_tanh_cell=rnn_tanh_cell",
    "has no kernel in PyTorch either; use torch.linalg.vector_norm": "native_norm",
}
_REASONS = dict(_OTHER_CLASSES)
_REASONS.update(dict.fromkeys(SCRIPT_CLASSES, _SCRIPT))
for _reason, _names in _FUNCTIONS.items():
    for _name in _names.split():
        _name, _, _use = _name.partition("=")
        _REASONS[_name] = _reason.format(use="torch." + _use)


class AggregationType(enum.Enum):
    """How TorchScript's statistics are put together."""

    SUM = 0
    AVG = 1


def absent(name: str) -> Any:
    """A stand-in that raises NotImplementedError when used; AttributeError for other names."""
    if name == "AggregationType":
        return AggregationType
    if name in AggregationType.__members__:
        return AggregationType[name]
    if name not in _REASONS:
        raise AttributeError(name)
    reason = f"torch.{name} {_REASONS[name]}"

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(reason)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__module__, refuse.__doc__ = "torch", f"Not offered: {reason}."
    if name in SCRIPT_CLASSES or name in _OTHER_CLASSES:
        made = {"__module__": "torch", "__doc__": refuse.__doc__, "__new__": refuse}
        return type(name, (), made)
    return refuse


def names() -> list[str]:
    """All names that exist only to raise."""
    return sorted(_REASONS)
