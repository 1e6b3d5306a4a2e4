"""GPUs: what they are (cards), what they can multiply (precision), what they cost (prices). Figures are under data/."""
