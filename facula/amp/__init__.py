"""Mixed precision: `autocast` and `GradScaler`.

>>> import facula as torch
>>> with torch.autocast("cpu", dtype=torch.bfloat16):
...     (torch.ones(2, 3) @ torch.ones(3, 2)).dtype
torch.bfloat16
"""

from facula.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from facula.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
