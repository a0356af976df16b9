"""What is trained: each task builds a model, gives losses and evaluates."""
