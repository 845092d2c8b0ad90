"""Target-independent kernels: loop programs and templates, and the steps that call them."""
