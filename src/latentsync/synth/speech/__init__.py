"""Speech whose phones are known to the sample."""
