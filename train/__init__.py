"""Training: recipes, the Accelerate loop, tasks and checkpoints."""

if __name__ == "train":
    raise ImportError("import earthgen.train, not train; run 'pip install -e .' in the checkout first")
