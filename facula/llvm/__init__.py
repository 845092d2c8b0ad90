"""Loop programs to LLVM IR, and IR to machine code."""
