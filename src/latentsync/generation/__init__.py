"""How a chunk of crops gets its new mouths: the paper's sampler, and that of `tiny`."""
