"""The old place of `torch.hub.load_state_dict_from_url`."""

from facula.hub import load_state_dict_from_url

load_url = load_state_dict_from_url
