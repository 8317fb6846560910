"""What encoders are built of: attention, transformer and Conformer layers, convolutions, positions."""
