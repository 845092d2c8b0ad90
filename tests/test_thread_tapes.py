"""Tensors that one thread recorded and another reads."""

import threading

import facula as torch


def test_a_value_can_be_read_in_another_thread():
    x = torch.ones(2, 2)
    y, z = x * 2, x + 1
    seen = []
    reader = threading.Thread(target=lambda: seen.append((y @ y).sum().item()))
    reader.start()
    reader.join()
    assert seen == [32.0]
    assert (y + z).tolist() == [[4.0, 4.0], [4.0, 4.0]]  # recording goes on
