"""LoRA files: what they are, what is in them, how much they change. The only notion of "a LoRA file" in the product.

`file.read_lora` reads a header and says what it is; `norms.compute_norms` reads every weight; `inspect` is the
command line.
"""
