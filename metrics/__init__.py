"""Measures of generated pictures, each shown with its protocol."""

if __name__ == "metrics":
    raise ImportError("import earthgen.metrics, not metrics; run 'pip install -e .' in the checkout first")
