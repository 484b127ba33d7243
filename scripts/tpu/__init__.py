"""What `scripts/compile_for_tpu.py` needs to know of chips, of compiled programs and of data sets."""
