import facula as torch
import numpy as np
# 1. 张量的创建
# create a 0D tensor (scalar) from a Python integer
tensor0d = torch.tensor(1)

# create a 1D tensor (vector) from a Python list
tensor1d = torch.tensor([1, 2, 3])

# create a 2D tensor from a nested Python list
tensor2d = torch.tensor([[1, 2], 
                         [3, 4]])


# create a 3D tensor from NumPy array
ary3d = np.array([[[1, 2], [3, 4]], 
                  [[5, 6], [7, 8]]])
tensor3d_2 = torch.tensor(ary3d)  # Copies NumPy array
tensor3d_3 = torch.from_numpy(ary3d)  # Shares memory with NumPy array

# 2. 张量的数据类型

tensor1d = torch.tensor([1, 2, 3])
print(tensor1d.dtype) # torch.int64

# 浮点数默认为 32 位，可以在精度和效率之间取得平衡，并且 GPU 对 32 位计算有优化
floatvec = torch.tensor([1.0, 2.0, 3.0])
print(floatvec.dtype) # torch.float32

# .to 修改张量类型
floatvec = tensor1d.to(torch.float32)
print(floatvec.dtype)

# --- looked at besides
print(tensor0d, tensor1d, tensor2d, floatvec)
ary3d[0, 0, 0] = 99
print(tensor3d_2)
print(tensor3d_3)
