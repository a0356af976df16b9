"""Does labelled data make a detector better? A small detector, equal steps for everyone, and the arms that keep the answer honest."""
