# The text names these without showing them together.
import os
import tempfile

import facula as torch
import facula.nn as nn

torch.manual_seed(0)
PATH = os.path.join(tempfile.mkdtemp(), "model.pt")
model = nn.Linear(3, 2)

# --- the text
torch.save(model.state_dict(), PATH)
model.load_state_dict(torch.load(PATH))
torch.cuda.is_available()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# --- looked at besides
print(torch.load(PATH))
print(nn.Linear(3, 2).load_state_dict(torch.load(PATH)))
print(device)
print(model.to(device))
