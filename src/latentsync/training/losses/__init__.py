"""What the U-Net is trained to make small: one module per loss."""
