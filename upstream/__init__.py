"""Speech encoders behind one interface: `upstream.load(name, checkpoint=None)`."""
