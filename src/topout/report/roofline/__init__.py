"""The roofline: frame, roofs, regions and points, of one machine and of several."""
